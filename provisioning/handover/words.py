# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""The words of the hand-over page, in English and in Chinese. Reasons are the program's own, in English."""

from provisioning.finding import Verdict
from shared.words import Words

TITLE = Words("Hand-over of a protected host", "受保护主机交接报告")
VERDICTS = {
    Verdict.FAIL: Words("FAIL", "未通过"),
    Verdict.NOT_EVALUATED: Words("NOT EVALUATED", "未评估"),
    Verdict.PASS: Words("PASS", "通过"),
}
STEPS = {
    "preflight": Words("preflight", "安装前检查"),
    "install": Words("install", "安装"),
    "enrol": Words("enrol", "注册"),
    "pin-console": Words("pin console", "固定操作台设备"),
    "self-test": Words("self-test", "自检"),
}
# A check that stands in no list is shown by its name alone; one of several of a kind has a number behind it.
CHECKS = {
    "boot-parameter": "内核启动参数",
    "centre-broker": "中心消息服务可达",
    "centre-enrolment": "中心注册入口可达",
    "centre-hosts": "中心主机入口可达",
    "certificate": "证书",
    "cgroup-bpf": "按服务限制网络",
    "cgroup-v2": "资源分组",
    "clock": "时钟",
    "clock-kept": "时钟同步",
    "clock-offset": "时钟偏差",
    "code": "注册码",
    "console": "操作台",
    "denial": "默认拒绝",
    "device-decided": "设备判定（模拟）",
    "dicom-echo": "DICOM 回显",
    "dicom-port": "DICOM 端口",
    "dicom-tls-port": "DICOM TLS 端口",
    "disk-encryption": "磁盘加密",
    "enrol": "注册",
    "files": "文件",
    "free-space": "可用空间",
    "identity": "主机身份",
    "inclusion-proof": "日志收录证明",
    "install": "安装",
    "kernel": "内核",
    "keys": "私钥",
    "memory": "内存",
    "modality-disks": "设备自身磁盘",
    "modality-ports": "设备自身端口",
    "phantom-admitted": "测试影像准入",
    "phantom-captured": "测试影像采集并加密",
    "phantom-delivered": "测试影像送达",
    "phantom-opened": "中心解密并比对一致",
    "pin-console": "固定操作台设备",
    "policy-in-force": "生效策略",
    "policy-root": "策略信任根",
    "preflight": "安装前检查",
    "self-test": "自检",
    "services": "服务",
    "settings": "设置",
    "swap-encryption": "交换区加密",
    "systemd": "服务管理器",
    "systemd-udevd": "设备管理服务",
    "time-zone": "时区",
    "tpm": "TPM 安全芯片",
    "tpm-account": "TPM 访问权限",
    "udev": "设备管理器",
    "usb": "USB 总线",
}


def check_zh(check: str) -> str:
    """Return a check's Chinese name, empty where it has none."""
    kind, _, number = check.rpartition("-")
    if number.isdecimal():
        return f"{CHECKS[kind]} {number}" if kind in CHECKS else ""
    return CHECKS.get(check, "")


ASSET = Words("Asset", "资产")
HOST = Words("Host", "主机")
MADE = Words("Made (UTC)", "生成时间（UTC）")
POLICY = Words("Policy in force", "生效策略版本")
KEYS = Words("Private keys in", "私钥保存于")
KEYS_IN = {"tpm": Words("TPM", "TPM 安全芯片"), "file": Words("a file", "文件")}
CERTIFICATE = Words("Certificate until", "证书有效期至")
SOFTWARE = Words("Software", "软件版本")
ENGINEER = Words("Engineer", "工程师")
RECEIVED_BY = Words("Received by", "接收人")
AS_TYPED = Words("Names as they were typed; sign here by hand:", "以上姓名为键入，不等于本人签名；请在此手签：")
OPEN = Words("Failed or not evaluated", "未通过或未评估的项目")
NOTHING_OPEN = Words("Everything was evaluated and passed.", "全部项目均已评估并通过。")
PASSED = Words("Passed", "已通过的项目")
NONE_PASSED = Words("Nothing passed.", "没有通过的项目。")
REASONS = Words("", "原因为程序原文（英文）")
TO_VERIFY = Words(
    "This page is a copy. What counts is the signed file attached to it; verify that with",
    "本页仅为副本，以所附经签名的文件为准；验证命令：",
)
DIGEST = Words("SHA-256 of the signed file (also the QR code)", "签名文件的 SHA-256（同二维码）")
SIGNED_WITH = Words("Signed by the host with evidence key", "由主机以下列证据密钥签名")
NO_PATIENT = Words("The self-test's image is synthetic and nobody's.", "自检影像为合成影像，不属于任何患者。")


def more(count: int) -> Words:
    return Words(f"and {count} more, whose reasons stand in the signed file", f"另有 {count} 项，原因见签名文件")
