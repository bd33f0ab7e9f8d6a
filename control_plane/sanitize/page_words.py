# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""The words of a wipe's certificate, in English and in Chinese; those of results, steps and facts are in `shared`."""

from collections.abc import Mapping

from shared.words import Words

TITLE = Words("Certificate of data sanitization", "存储介质数据清除证书")
CLASS = Words("Class reached (NIST SP 800-88 Rev. 2)", "达到的等级（NIST SP 800-88 Rev. 2）")
SERIAL = Words("Serial number", "序列号")
FROM_ORDER = Words("the order; no drive answers any more", "工单（介质已无法应答）")
SERIAL_FROM = Words("said by", "来源")
DRIVE = Words("Drive", "存储介质")
KIND = Words("Type of medium", "介质类型")
SIZE = Words("Size", "容量")
WWN = Words("World wide name", "全球唯一名称")
ASSET = Words("Asset", "资产编号")
METHOD = Words("Method used", "清除方法")
TOOL = Words("Tools", "工具及版本")
NOT_REACHED = Words("Not reached", "未覆盖的部分")
NOTHING_LEFT = Words("Nothing that is known.", "无已知遗漏。")
NOT_LOOKED = Words("Not looked into: no drive answers any more.", "未检查：介质已无法应答。")
READ_BACK = Words("Read back", "回读验证")
NO_READ_BACK = Words("nothing", "无")
BY_WHOM = Words("By whom", "责任人")
TECHNICIAN = Words("Wiped by", "执行人")
TYPED = Words("typed at the terminal", "终端输入的姓名")
REQUESTER = Words("Asked for by", "申请人")
APPROVERS = Words("Approved and signed by", "批准并签名")
VERIFIER = Words("Certified by", "签发人")
CENTRE = Words("judged and countersigned by the centre", "由中心判定并会签")
COUNTERSIGNED = Words("countersigned by the centre", "由中心会签")
OVERRIDDEN = Words("Lost by two persons' word", "两人批准的例外")
UNDELIVERED = Words("images not delivered", "未送达影像")
LEAST = Words("The ticket asked for", "工单要求")
HELD = Words("The ticket held", "工单有效期")
WITNESS = Words("Witness", "见证人")
RECORDED_BY = Words("Recorded by", "记录人")
MEANS = Words("By what means", "销毁方式")
PHOTOGRAPHS = Words("Photographs (SHA-256)", "照片（SHA-256）")
WHEN = Words("From, to (UTC)", "起止时间（UTC）")
RESTS_ON = Words("What this rests on", "判定依据")
REASON = Words("Reason", "事由")
ORDER = Words("Order", "工单号")
HOST = Words("Host", "执行主机")
STATED = Words("Stated by people; nothing proves it", "人员陈述（无技术证明）")
NOT_STATED = Words("not stated", "未说明")
CONSIDERED = Words("Techniques considered", "考虑过的清除方法")
STEPS = Words("What was done", "执行步骤")
CHECKS = Words("What was read back", "回读记录")
HIDDEN = Words("Hidden areas", "隐藏区域")
HEALTH = Words("Health of the drive, before and after", "介质健康状况（前后）")
SEEN = Words("accepted, seen at work, completed", "已接受、见其执行、已完成")
FROM_TO = Words("from, to", "起止")
PATTERN = Words("pattern", "图案")
WRITTEN = Words("written", "已写入")
SEED = Words("seed", "种子")
COMMITMENT = Words("commitment to it", "种子承诺值")
SAMPLE_SEED = Words("seed of the sample", "抽样种子")
STREAM_SEED = Words("seed of the stream", "随机流种子")
STATED_FACTS = Words("facts", "事实")
DETAIL = Words("detail", "详情")
YES, NO = Words("yes", "是"), Words("no", "否")
KEY = Words("key", "密钥")
TICKET_DIGEST = Words("ticket SHA-256", "工单 SHA-256")
PROOF = Words("Proof", "证明材料")
NONE = Words("none", "无")
TO_VERIFY = Words(
    "The signed file attached to this page counts, and not its print. Verify it anywhere, without network:",
    "以所附经签名的文件为准，打印件仅供参考。可离线验证：",
)
DIGEST = Words("SHA-256 of the statement (also in the QR code)", "声明的 SHA-256（同二维码）")
SIGNED_WITH = Words("Signed by the centre with evidence key", "中心签名所用证据密钥")
RECORDED = Words("In the centre's log as record", "中心日志记录号")

FACTS: Mapping[str, Words] = {
    "organisation": Words("Organisation", "单位"),
    "property_number": Words("Property number", "固定资产编号"),
    "media_source": Words("Came from", "介质来源"),
    "confidentiality_before": Words("Confidentiality before", "清除前密级"),
    "confidentiality_after": Words("Confidentiality after", "清除后密级"),
    "backup": Words("Backup of the data", "数据备份情况"),
    "destination": Words("Goes to", "清除后去向"),
    "owner_consent": Words("Owner's consent", "所有人同意"),
    "location": Words("Place", "地点"),
    "contact": Words("Contact", "联系方式"),
    "technician_role": Words("Position of who wiped", "执行人职务"),
    "verifier_role": Words("Position of who certified", "签发人职务"),
}
