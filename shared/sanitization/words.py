# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""What results, reasons, places and techniques are called, in English and in Chinese."""

from collections.abc import Mapping

from shared.policy.wipe import ReadBack
from shared.sanitization.judged import Place, Result, Why
from shared.sanitization.medium import MediumKind, SerialSource
from shared.sanitization.report import Expected, HiddenKind, HiddenState, StepOutcome
from shared.sanitization.technique import Available, SanitizationClass, Sequence, Technique
from shared.sanitization.ticket import Reason
from shared.words import Words

RESULTS: Mapping[Result, Words] = {
    Result.PURGED_VERIFIED: Words("PURGED, verified", "已净化（Purge），已验证"),
    Result.CLEARED_VERIFIED: Words("CLEARED, verified", "已清除（Clear），已验证"),
    Result.CLEARED_HIDDEN_UNKNOWN: Words("CLEARED, hidden area not known", "已清除（Clear），隐藏区域状态不明"),
    Result.CRYPTO_SHREDDED: Words("KEYS DESTROYED", "密钥已销毁"),
    Result.DESTROYED: Words("DESTROYED, by people's word", "已物理销毁（人员见证）"),
    Result.PARTIAL: Words("PARTIAL", "部分完成"),
    Result.LOGICAL_DELETE_ONLY: Words("LOGICAL DELETE ONLY", "仅逻辑删除"),
    Result.COMPLETION_NOT_PROVEN: Words("COMPLETION NOT PROVEN", "未能证明完成"),
    Result.ABORTED: Words("ABORTED", "已中止"),
    Result.FAILED: Words("FAILED", "失败"),
    Result.REFUSED: Words("REFUSED", "已拒绝"),
    Result.UNKNOWN: Words("UNKNOWN", "未知"),
}

CLASSES: Mapping[SanitizationClass, Words] = {
    SanitizationClass.NONE: Words("none", "无"),
    SanitizationClass.CLEAR: Words("Clear", "清除（Clear）"),
    SanitizationClass.PURGE: Words("Purge", "净化（Purge）"),
    SanitizationClass.DESTROY: Words("Destroy", "销毁（Destroy）"),
}

WHYS: Mapping[Why, Words] = {
    Why.NOT_THIS_TICKET: Words("the report is of another ticket or host", "报告属于其他工单或主机"),
    Why.OUT_OF_TIME: Words("it was not begun while the ticket held", "未在工单有效期内开始"),
    Why.CLOCK_UNSURE: Words("the host was not sure of its clock", "主机时钟不可信"),
    Why.TIMES_CONTRADICT: Words("its times contradict each other", "时间记录互相矛盾"),
    Why.NOT_THIS_DRIVE: Words("the drive is not the one of the ticket", "硬盘与工单不符"),
    Why.SERIAL_UNKNOWN: Words("nothing says where the serial number came from", "序列号来源不明"),
    Why.DRIVE_CHANGED: Words("the drive afterwards is not the one of before", "擦除前后不是同一块硬盘"),
    Why.DRIVE_NOT_SEEN_AGAIN: Words("the drive was not looked at again", "擦除后未再次识别硬盘"),
    Why.NOT_ALLOWED: Words("something was done that the ticket does not allow", "执行了工单未允许的操作"),
    Why.REFUSED: Words("it was refused before anything was written", "写入前已拒绝"),
    Why.REFUSED_YET_WRITTEN: Words("it says refused, and something was written", "声称已拒绝，但已有写入"),
    Why.ENDED_FAILED: Words("the host says that it failed", "主机报告失败"),
    Why.ENDED_ABORTED: Words("it was aborted", "已中止"),
    Why.ENDED_UNKNOWN: Words("how it ended is not known", "结束情况不明"),
    Why.NOTHING_DONE: Words("nothing was done to the drive", "未对硬盘执行任何操作"),
    Why.STEP_FAILED: Words("a step failed", "有步骤失败"),
    Why.STEP_INTERRUPTED: Words("a step was interrupted and not finished", "有步骤中断且未完成"),
    Why.STEP_UNKNOWN: Words("how a step ended is not known", "有步骤结果不明"),
    Why.STEP_CONTRADICTS: Words("a step contradicts itself", "有步骤自相矛盾"),
    Why.PASSES_DIFFER: Words("the passes are not those of the sequence", "写入遍次与规定序列不符"),
    Why.NOT_ALL_WRITTEN: Words("a pass did not write the whole drive", "有一遍未写满全盘"),
    Why.SECTORS_UNWRITABLE: Words("sectors could not be written", "有扇区无法写入"),
    Why.SEED_MISSING: Words("a random pass has no seed or no commitment", "随机写入缺少种子或承诺值"),
    Why.SEED_NOT_COMMITTED: Words("a seed is not the one that was committed to", "种子与事先承诺不符"),
    Why.SEED_TWICE: Words("two passes have one seed", "两遍使用了同一种子"),
    Why.COMMAND_NOT_ACCEPTED: Words("the drive did not accept the command", "硬盘未接受命令"),
    Why.COMMAND_NOT_COMPLETED: Words("the drive did not say that it ended well", "硬盘未确认命令成功结束"),
    Why.COMMAND_NOT_SEEN: Words("nothing shows that the drive did it", "没有证据表明硬盘执行了命令"),
    Why.PASSWORD_LEFT: Words("the drive is still under a password", "硬盘仍设有密码"),
    Why.KEYS_NOT_PROVED: Words("it is not proved that the keys are gone", "未能证明密钥已消失"),
    Why.HIDDEN_AREA_LEFT: Words("a hidden area, or a namespace, was left", "遗留隐藏区域或命名空间"),
    Why.NOT_READ_BACK: Words("it was not read back", "未回读验证"),
    Why.READ_BACK_TOO_LITTLE: Words("less was read back than the ticket asks for", "回读范围少于工单要求"),
    Why.READ_BACK_INCOMPLETE: Words("a read back was not finished", "回读未完成"),
    Why.READ_BACK_OF_ANOTHER: Words("a read back looked for something else", "回读比对的不是最后写入的内容"),
    Why.READ_BACK_DIFFERS: Words("what was read back differs", "回读内容不一致"),
    Why.SECTORS_UNREADABLE: Words("sectors could not be read back", "有扇区无法读取"),
    Why.BELOW_LEAST: Words("the ticket asks for a higher class", "未达到工单要求的等级"),
    Why.ALL_PASSES_WRITTEN: Words("every pass wrote the whole drive", "每一遍均写满全盘"),
    Why.COMMAND_RAN: Words("the drive accepted its command and completed it", "硬盘接受并完成了自身的清除命令"),
    Why.READ_BACK_WHOLE: Words("the whole drive was read back", "已全盘回读"),
    Why.READ_BACK_SAMPLES: Words("samples of the drive were read back", "已抽样回读"),
    Why.HIDDEN_AREA_UNKNOWN: Words("whether it has a hidden area is not known", "是否存在隐藏区域不明"),
    Why.OVERWRITE_IS_CLEAR: Words(
        "overwriting reaches Clear and no more, by whatever sequence",
        "无论采用何种序列，覆写仅达到清除（Clear）等级",
    ),
    Why.KEYS_DESTROYED: Words("the key slots on the drive were destroyed", "硬盘上的密钥槽已销毁"),
    Why.WENT_ON: Words("it was interrupted, and went on to its end", "曾中断，后续完成"),
    Why.SERIAL_FROM_BRIDGE: Words("the serial number is what a bridge or the kernel says", "序列号由转接桥或内核提供"),
    Why.SERIAL_FROM_PERSON: Words("a person read the serial number off the label", "序列号由人员从标签读取"),
    Why.PERSON_DIFFERS: Words("another name was typed than the ticket's", "输入的姓名与工单不同"),
    Why.PERSON_SAYS_DESTROYED: Words(
        "people say that it was destroyed, and no drive can prove it", "由人员见证销毁，硬盘本身无法证明"
    ),
}

PLACES: Mapping[Place, Words] = {
    Place.HIDDEN_AREA: Words("hidden area", "隐藏区域"),
    Place.HIDDEN_AREA_UNKNOWN: Words("hidden area: not known whether there is one", "隐藏区域：是否存在不明"),
    Place.BOOT_PARTITIONS: Words("boot partitions", "启动分区"),
    Place.SPARE_AREA: Words(
        "spare area of the flash: not addressable, old data may be there", "闪存备用区：不可寻址，可能残留旧数据"
    ),
    Place.REMAPPED: Words("sectors that the drive had replaced before", "此前已被硬盘重映射的扇区"),
    Place.REMAPPED_UNKNOWN: Words("replaced sectors: the drive does not say how many", "重映射扇区：硬盘未提供数量"),
    Place.BEHIND_BRIDGE: Words("what lies behind the USB bridge", "USB 转接桥之后的介质内部"),
    Place.BENEATH_VIRTUAL: Words("what lies beneath this virtual drive", "虚拟磁盘之下的实际介质"),
    Place.UNWRITABLE: Words("sectors that could not be written", "无法写入的扇区"),
    Place.DIFFERENT: Words("sectors that read back otherwise", "回读不一致的扇区"),
    Place.UNREADABLE: Words("sectors that could not be read back", "无法读取的扇区"),
    Place.NOT_READ_BACK: Words("sectors that were not read back", "未回读的扇区"),
    Place.BESIDE_KEYS: Words("beside the keys on the drive", "硬盘密钥之外"),
}

TECHNIQUES: Mapping[Technique, Words] = {
    Technique.OVERWRITE: Words("overwrite", "覆写"),
    Technique.ATA_SANITIZE_BLOCK: Words("ATA sanitize, block erase", "ATA 净化：块擦除"),
    Technique.ATA_SANITIZE_CRYPTO: Words("ATA sanitize, crypto scramble", "ATA 净化：加密擦除"),
    Technique.ATA_SANITIZE_OVERWRITE: Words("ATA sanitize, overwrite", "ATA 净化：覆写"),
    Technique.ATA_SECURE_ERASE: Words("ATA secure erase", "ATA 安全擦除"),
    Technique.ATA_SECURE_ERASE_ENHANCED: Words("ATA secure erase, enhanced", "ATA 增强安全擦除"),
    Technique.NVME_SANITIZE_BLOCK: Words("NVMe sanitize, block erase", "NVMe 净化：块擦除"),
    Technique.NVME_SANITIZE_CRYPTO: Words("NVMe sanitize, crypto erase", "NVMe 净化：加密擦除"),
    Technique.NVME_SANITIZE_OVERWRITE: Words("NVMe sanitize, overwrite", "NVMe 净化：覆写"),
    Technique.NVME_FORMAT_USER: Words("NVMe format, user data erase", "NVMe 格式化：用户数据擦除"),
    Technique.NVME_FORMAT_CRYPTO: Words("NVMe format, crypto erase", "NVMe 格式化：加密擦除"),
    Technique.SCSI_SANITIZE_BLOCK: Words("SCSI sanitize, block erase", "SCSI 净化：块擦除"),
    Technique.SCSI_SANITIZE_CRYPTO: Words("SCSI sanitize, crypto erase", "SCSI 净化：加密擦除"),
    Technique.SCSI_SANITIZE_OVERWRITE: Words("SCSI sanitize, overwrite", "SCSI 净化：覆写"),
    Technique.MMC_SANITIZE: Words("MMC sanitize", "MMC 净化"),
    Technique.DISCARD: Words("block discard", "块丢弃（discard）"),
    Technique.LUKS_ERASE: Words("LUKS key slots erased", "擦除 LUKS 密钥槽"),
    Technique.DESTRUCTION: Words("physical destruction", "物理销毁"),
}

# A sequence that bears a standard's name is that pattern and gives nobody the standard's authority.
SEQUENCES: Mapping[Sequence, Words] = {
    Sequence.RANDOM: Words("one random pass", "随机数据一遍"),
    Sequence.ZERO: Words("one pass of zeros", "全零一遍"),
    Sequence.THREE_PASS: Words("three passes", "三遍覆写"),
    Sequence.BMB21: Words(
        "the pattern known as BMB21-2019 (no authority to release carriers of state secrets)",
        "通称 BMB21-2019 的图案（不构成涉密载体解密或出售的授权）",
    ),
    Sequence.DOD_SHORT: Words("the legacy pattern known as DoD 5220.22-M short", "通称 DoD 5220.22-M（短）的旧式图案"),
    Sequence.CUSTOM: Words("passes of the ticket's own", "工单自定义遍次"),
}

MEDIA: Mapping[MediumKind, Words] = {
    MediumKind.ATA_DISK: Words("magnetic disk, ATA", "磁盘，ATA"),
    MediumKind.ATA_SSD: Words("flash (SSD), ATA", "闪存（SSD），ATA"),
    MediumKind.NVME: Words("flash (SSD), NVMe", "闪存（SSD），NVMe"),
    MediumKind.SCSI_DISK: Words("magnetic disk, SCSI/SAS", "磁盘，SCSI/SAS"),
    MediumKind.SCSI_SSD: Words("flash (SSD), SCSI/SAS", "闪存（SSD），SCSI/SAS"),
    MediumKind.USB: Words("behind a USB bridge", "USB 转接桥之后的介质"),
    MediumKind.MMC: Words("flash, eMMC or SD", "闪存，eMMC 或 SD"),
    MediumKind.VIRTUAL: Words("virtual drive", "虚拟磁盘"),
}

SERIAL_SOURCES: Mapping[SerialSource, Words] = {
    SerialSource.ATA_IDENTIFY: Words("the drive itself (ATA IDENTIFY)", "硬盘自身（ATA IDENTIFY）"),
    SerialSource.NVME_IDENTIFY: Words("the drive itself (NVMe Identify)", "硬盘自身（NVMe Identify）"),
    SerialSource.SCSI_VPD: Words("the drive itself (SCSI VPD 80h)", "硬盘自身（SCSI VPD 80h）"),
    SerialSource.MMC_CID: Words("the card itself (CID)", "存储卡自身（CID）"),
    SerialSource.USB_DESCRIPTOR: Words("the USB bridge, which may make one up", "USB 转接桥（可能为自拟序列号）"),
    SerialSource.KERNEL: Words("the kernel, not the drive", "内核，非硬盘自身"),
    SerialSource.LABEL: Words("read off the label by a person", "由人员从标签读取"),
    SerialSource.NONE: Words("nowhere", "无"),
}

READ_BACKS: Mapping[ReadBack, Words] = {
    ReadBack.WHOLE: Words("whole", "全部"),
    ReadBack.SAMPLES: Words("samples", "抽样"),
}

EXPECTED: Mapping[Expected, Words] = {
    Expected.STREAM: Words("compared with the random stream", "与随机流比对"),
    Expected.PATTERN: Words("compared with the pattern", "与固定图案比对"),
    Expected.CHANGED: Words("compared with what was there before", "与擦除前内容比对"),
}

REASONS: Mapping[Reason, Words] = {
    Reason.DISPOSAL: Words("disposal", "报废"),
    Reason.RETURN: Words("return", "退还"),
    Reason.REPAIR: Words("repair", "维修"),
    Reason.REUSE: Words("reuse", "再利用"),
    Reason.INCIDENT: Words("incident", "事件处置"),
    Reason.OTHER: Words("other", "其他"),
}

OUTCOMES: Mapping[StepOutcome, Words] = {
    StepOutcome.DONE: Words("done", "已完成"),
    StepOutcome.FAILED: Words("failed", "失败"),
    StepOutcome.REFUSED: Words("refused by the drive", "硬盘拒绝"),
    StepOutcome.INTERRUPTED: Words("interrupted", "已中断"),
    StepOutcome.UNKNOWN: Words("unknown", "不明"),
}

AVAILABLE: Mapping[Available, Words] = {
    Available.YES: Words("yes", "可用"),
    Available.NO: Words("no", "不可用"),
    Available.UNKNOWN: Words("unknown", "不明"),
}

HIDDEN_KINDS: Mapping[HiddenKind, Words] = {
    HiddenKind.HPA: Words("host protected area (HPA)", "主机保护区（HPA）"),
    HiddenKind.DCO: Words("device configuration overlay (DCO)", "设备配置覆盖（DCO）"),
    HiddenKind.AMA: Words("above the accessible max address", "可访问最大地址（AMA）之上"),
    HiddenKind.NAMESPACES: Words("other namespaces, unallocated capacity", "其他命名空间及未分配容量"),
    HiddenKind.BOOT_PARTITIONS: Words("boot partitions and RPMB", "启动分区及 RPMB"),
}

HIDDEN_STATES: Mapping[HiddenState, Words] = {
    HiddenState.NONE: Words("none, by the drive's own answer", "无（硬盘自身的应答）"),
    HiddenState.PRESENT: Words("found, not reached", "已发现，未覆盖"),
    HiddenState.REMOVED: Words("found, opened, and reached with the rest", "已发现并开放，随全盘一并覆盖"),
    HiddenState.INDETERMINATE: Words("indeterminate", "无法确定"),
    HiddenState.NOT_APPLICABLE: Words("not applicable", "不适用"),
}

# Keys under which a host and its drive state facts; the keys themselves stand in the report.
FACTS: Mapping[str, Words] = {
    "state_before": Words("the drive's state before", "命令前硬盘状态"),
    "record_before": Words("the drive's own log before", "命令前硬盘日志"),
    "record_after": Words("the drive's own log after", "命令后硬盘日志"),
    "log_names_run": Words("its log names this run", "日志记录了本次操作"),
    "estimate_s": Words("the drive's own estimate, s", "硬盘自估时间（秒）"),
    "namespaces_covered": Words("every namespace was covered", "已覆盖全部命名空间"),
    "password_left": Words("still under our password", "仍设有本软件密码"),
    "discarded_bytes": Words("bytes discarded before", "事先丢弃的字节数"),
    "luks_headers": Words("LUKS headers", "LUKS 卷头数"),
    "luks_headers_gone": Words("LUKS headers proved gone", "证实已消失的卷头数"),
    "luks_all_inside": Words("all data lies inside LUKS", "数据全部在 LUKS 之内"),
    "luks_copies": Words("copies of header or key", "卷头或密钥副本"),
    "luks_copies_named": Words("copies that are known", "已知副本"),
    "luks_from_start": Words("encrypted from the start", "自始加密"),
    "evaluated": Words("evaluated", "已评估"),
    "why": Words("why not", "未评估原因"),
    "tool": Words("tool", "工具"),
    "passed": Words("the drive calls itself well", "硬盘自评正常"),
    "temperature_c": Words("temperature, °C", "温度（°C）"),
    "power_on_hours": Words("hours in use", "通电小时"),
    "power_cycles": Words("times switched on", "通电次数"),
    "grown_defects": Words("grown defects", "增长缺陷"),
    "reallocated_sectors": Words("reallocated sectors", "重映射扇区"),
    "pending_sectors": Words("pending sectors", "待处理扇区"),
    "uncorrectable_sectors": Words("uncorrectable sectors", "不可纠正扇区"),
    "critical_warning": Words("critical warning", "严重警告"),
    "available_spare_percent": Words("spare left, %", "剩余备用（%）"),
    "used_percent": Words("used, %", "已用寿命（%）"),
    "media_errors": Words("media errors", "介质错误"),
}
