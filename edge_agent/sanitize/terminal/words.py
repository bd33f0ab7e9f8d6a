# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""What the screens say, in English and in Chinese. Names in braces are filled in."""

from collections.abc import Mapping

from edge_agent.sanitize.attempt import Standing
from shared.policy.wipe import LeastClass
from shared.sanitization.judged import Result
from shared.sanitization.ticket import Override
from shared.words import Words

LEAST: Mapping[LeastClass, Words] = {
    LeastClass.CLEAR: Words("Clear", "清除（Clear）"),
    LeastClass.PURGE: Words("Purge", "净化（Purge）"),
}

OVERRIDES: Mapping[Override, Words] = {
    Override.INCIDENT_HOLD: Words("although an incident holds this host", "尽管安全事件要求保留本机"),
    Override.UNDELIVERED_IMAGES: Words("although images that were not delivered are lost", "尽管未送达的影像将丢失"),
}

STANDINGS: Mapping[Standing, Words] = {
    Standing.ENDED: Words("ended", "已结束"),
    Standing.RESUMABLE: Words("RESUMABLE: cut short, and can be brought to an end", "可继续：被中断，可以做完"),
    Standing.INCOMPLETE: Words(
        "INCOMPLETE: begun, not ended, and its drive is not here", "未完成：已开始，未结束，盘不在此处"
    ),
    Standing.UNKNOWN: Words("UNKNOWN: begun, and how it ended is not known", "不明：已开始，结果不明"),
}

NEXT: Mapping[Result, Words] = {
    Result.PURGED_VERIFIED: Words(
        "Bring the report to the centre; it answers with the certificate that goes with the drive.",
        "请把报告送到中心，由中心出具随盘证书。",
    ),
    Result.CLEARED_VERIFIED: Words(
        "Bring the report to the centre; it answers with the certificate that goes with the drive.",
        "请把报告送到中心，由中心出具随盘证书。",
    ),
    Result.CLEARED_HIDDEN_UNKNOWN: Words(
        "Bring the report to the centre; it answers with the certificate that goes with the drive. It says "
        "that a hidden area could not be asked about.",
        "请把报告送到中心，由中心出具随盘证书。证书会写明无法查询隐藏区域。",
    ),
    Result.CRYPTO_SHREDDED: Words(
        "Bring the report to the centre; it answers with the certificate that goes with the drive.",
        "请把报告送到中心，由中心出具随盘证书。",
    ),
    Result.DESTROYED: Words(
        "Bring the report to the centre; it answers with the certificate that goes with the drive.",
        "请把报告送到中心，由中心出具随盘证书。",
    ),
    Result.PARTIAL: Words(
        "Do not let this drive leave the building. Data may be left on it. Order another wipe, or its destruction.",
        "此盘不得带离本楼。盘上可能仍有数据。请重新申请擦除或销毁。",
    ),
    Result.LOGICAL_DELETE_ONLY: Words(
        "Do not let this drive leave the building. Order a wipe that overwrites or sanitizes it.",
        "此盘不得带离本楼。请申请覆写或 Sanitize。",
    ),
    Result.COMPLETION_NOT_PROVEN: Words(
        "Do not let this drive leave the building. Order another wipe with a read back, or its destruction.",
        "此盘不得带离本楼。请申请带回读的擦除或销毁。",
    ),
    Result.ABORTED: Words(
        "Do not let this drive leave the building. Order another wipe.", "此盘不得带离本楼。请重新申请擦除。"
    ),
    Result.FAILED: Words(
        "Do not let this drive leave the building. Order another wipe; if that fails too, its destruction.",
        "此盘不得带离本楼。请重新申请擦除；若再失败，请申请销毁。",
    ),
    Result.REFUSED: Words(
        "Settle what is named here and begin again with this ticket while it holds.",
        "请解决这里列出的问题，在工单有效期内用同一工单重新开始。",
    ),
    Result.UNKNOWN: Words(
        "Do not let this drive leave the building. Order another wipe, or its destruction.",
        "此盘不得带离本楼。请重新申请擦除或销毁。",
    ),
}

SAYS: Mapping[str, Words] = {
    "title": Words("Leadglass wipe", "Leadglass 擦除"),
    "tickets": Words("Tickets", "工单"),
    "ticket": Words("Ticket", "工单"),
    "drives": Words("Drives", "盘"),
    "confirm": Words("Confirm", "确认"),
    "progress": Words("At work", "进行中"),
    "result": Words("Result", "结果"),
    "refused": Words("Refused", "已拒绝"),
    "unfinished": Words("Begun before", "以前开始的"),
    "stopped": Words("Stopped", "已停止"),
    "no-tickets": Words(
        "No ticket lies here. Bring one as a file (leadglass-wipe --ticket FILE), or press p and paste the "
        "text of its QR codes.",
        "这里没有工单。请带来工单文件（leadglass-wipe --ticket FILE），或按 p 粘贴其二维码的文字。",
    ),
    "hold": Words(
        "AN INCIDENT HOLDS THIS HOST: nothing is wiped here, unless the ticket says so by two people.",
        "安全事件要求保留本机：除非工单由两人写明，否则这里不擦除任何盘。",
    ),
    "unusable": Words("not usable: {why}", "不可用：{why}"),
    "listed": Words(
        "{asset}: serial {serial}, for {person}, until {until}",
        "{asset}：序列号 {serial}，执行人 {person}，有效至 {until}",
    ),
    "beside": Words(
        "ANOTHER TICKET IS FOR THIS DRIVE TOO: {others}. Once one of them is done, wiping it again takes a new order.",
        "另有工单也是此盘：{others}。其中一张完成后，再次擦除须重新申请。",
    ),
    "asset": Words("Asset", "资产"),
    "reason": Words("Reason", "原因"),
    "requester": Words("Asked for by", "申请人"),
    "approved": Words("Approved by", "批准人"),
    "person": Words("To be done by", "执行人"),
    "until": Words("Holds until", "有效至"),
    "drive": Words("Drive", "盘"),
    "serial": Words("Serial", "序列号"),
    "wwn": Words("WWN", "WWN"),
    "model": Words("Model", "型号"),
    "size": Words("Size", "容量"),
    "least": Words("At least", "至少达到"),
    "techniques": Words("How, in order", "方法顺序"),
    "sequence": Words("Overwriting", "覆写"),
    "read-back": Words("Read back", "回读"),
    "overrides": Words("ALTHOUGH", "尽管"),
    "no-drives": Words("No drive is seen here. Connect it and look again.", "没有看到任何盘。请接好后再看。"),
    "the-one": Words("THIS IS THE DRIVE OF THE TICKET", "这就是工单所指的盘"),
    "not-the-one": Words("not the one: {why}", "不是此盘：{why}"),
    "other-serial": Words("another serial", "序列号不同"),
    "other-wwn": Words("another WWN", "WWN 不同"),
    "other-model": Words("another model", "型号不同"),
    "other-size": Words("another size", "容量不同"),
    "partitions": Words("Partitions", "分区"),
    "no-partitions": Words("none seen", "未见分区"),
    "none-fits": Words(
        "None of these is the drive of the ticket ({serial}). It may not be connected, or it was swapped "
        "since the wipe was approved.",
        "其中没有工单所指的盘（{serial}）。可能没有接上，或在批准之后被换过。",
    ),
    "two-fit": Words(
        "More than one drive says that it is the one of the ticket. Disconnect all others.",
        "有多个盘自称是工单所指的盘。请断开其他盘。",
    ),
    "from": Words("serial from {source}", "序列号来源：{source}"),
    "refusal-next": Words("Nothing was written. The ticket is not used up.", "没有写入任何内容。工单没有用掉。"),
    "wipe-this": Words("EVERYTHING ON THIS DRIVE WILL BE DESTROYED", "此盘上的全部内容将被销毁"),
    "will-do": Words("What is done", "将要做的"),
    "why-not": Words("Not chosen", "未选用"),
    "can-stop": Words(
        "It can be stopped, and is resumed after a power cut. The ticket is used up once it begins.",
        "可以停止，断电后可以继续。一旦开始，工单即用掉。",
    ),
    "cannot-stop": Words(
        "ONCE BEGUN IT CANNOT BE STOPPED: the drive works by itself, and goes on after a power cut.",
        "一旦开始就不能停止：盘自行工作，断电后仍会继续。",
    ),
    "hidden-removed": Words("A hidden area is made visible first, and stays so.", "先把隐藏区域变为可见，并保持可见。"),
    "hidden-stays": Words(
        "A HIDDEN AREA STAYS ({kind}): {count} sectors that nothing here reaches. Data may be in it, so this wipe will "
        "be PARTIAL and get NO certificate: have the drive destroyed instead.",
        "隐藏区域会保留（{kind}）：{count} 个扇区，这里的方法都无法覆盖。其中可能有数据，因此本次擦除只能是“部分完成”，"
        "没有证书：请改为申请销毁。",
    ),
    "hidden-unknown": Words(
        "Whether it hides an area is not known ({kind}): Clear is the most that this can reach.",
        "是否有隐藏区域不明（{kind}）：最多只能达到清除（Clear）。",
    ),
    "type-serial": Words(
        "Type the last {count} characters of the serial number on the drive's label",
        "请输入盘标签上序列号的最后 {count} 个字符",
    ),
    "type-name": Words("Type your own name, as the ticket has it", "请输入您本人的姓名，与工单一致"),
    "copies": Words(
        "Copies of the LUKS header or of a key: n none, s there are some, u unknown",
        "LUKS 头或密钥的副本：n 没有，s 有，u 不知道",
    ),
    "from-start": Words(
        "Was everything on it encrypted before it was first stored? y yes, n no or unknown",
        "盘上的全部内容是否从一开始就加密存放？ y 是，n 否或不知道",
    ),
    "wrong-serial": Words(
        "these are not the last characters of the drive's serial number", "这不是此盘序列号的最后几个字符"
    ),
    "wrong-name": Words("the ticket is for {person}", "此工单的执行人是 {person}"),
    "begin": Words("Press w to begin.", "按 w 开始。"),
    "doing": Words("Now", "当前"),
    "done-so-far": Words("Done", "已完成"),
    "step": Words("Step", "步骤"),
    "speed": Words("Speed", "速度"),
    "rest": Words("Left", "剩余"),
    "temperature": Words("Temperature", "温度"),
    "elapsed": Words("For", "已用时"),
    "unknown": Words("not known", "不明"),
    "stopping": Words("Stopping at the next safe place …", "将在下一个安全位置停止……"),
    "interruptible": Words("This can be stopped: press s twice.", "可以停止：按两次 s。"),
    "not-interruptible": Words("This CANNOT be stopped. Leave the machine on.", "不能停止。请保持开机。"),
    "looking": Words("Looking at the drive …", "正在查看此盘……"),
    "pass": Words("{part}, {pattern}", "{part}，{pattern}"),
    "pass-alone": Words("writing {pattern}", "写入{pattern}"),
    "random": Words("random data", "随机数据"),
    "byte": Words("byte {byte}", "字节 {byte}"),
    "command": Words("{technique}; the drive works by itself", "{technique}；盘自行工作"),
    "sampling": Words("taking samples from before", "擦除前取样"),
    "reading": Words("reading back ({amount})", "回读（{amount}）"),
    "closing": Words("looking at the drive once more, and signing the report", "再次查看此盘，并签署报告"),
    "reached": Words("Reached", "达到"),
    "asked": Words("Asked for", "要求"),
    "not-reached": Words("Not reached", "未触及"),
    "because": Words("Because", "依据"),
    "sectors": Words("{place}: {count} sectors", "{place}：{count} 个扇区"),
    "detail": Words("Detail", "详情"),
    "next": Words("What next", "下一步"),
    "report": Words("Report", "报告"),
    "report-qr": Words(
        "as QR codes: leadglass-wipe report {ticket} --qr", "二维码：leadglass-wipe report {ticket} --qr"
    ),
    "no-report": Words("NO SIGNED REPORT: {why}", "没有签名的报告：{why}"),
    "stopped-text": Words(
        "The wipe was stopped before its end. The drive is NOT wiped.", "擦除在结束之前被停止。此盘没有擦除完。"
    ),
    "cut-short": Words(
        "It was begun and did not come to its end. The drive is NOT wiped, and the ticket is used up.",
        "已经开始而没有做完。此盘没有擦除完，工单已用掉。",
    ),
    "go-on-later": Words(
        "Settle what is named here and run leadglass-wipe again: it goes on from there.",
        "请解决这里列出的问题，再运行 leadglass-wipe：会从中断处继续。",
    ),
    "left-text": Words("{standing}", "{standing}"),
    "keys-list": Words(
        "1-9 choose   p paste QR text   l 中文   q quit", "1-9 选择   p 粘贴二维码文字   l English   q 退出"
    ),
    "keys-ticket": Words(
        "Enter look for the drive   b back   l 中文   q quit", "回车 查找此盘   b 返回   l English   q 退出"
    ),
    "keys-drives": Words("Enter go on   r look again   b back   q quit", "回车 继续   r 再看   b 返回   q 退出"),
    "keys-refused": Words("r look again   b back   q quit", "r 再看   b 返回   q 退出"),
    "keys-type": Words("Enter go on   Esc back, nothing is written", "回车 继续   Esc 返回，不写入任何内容"),
    "keys-begin": Words("w wipe   Esc back, nothing is written", "w 擦除   Esc 返回，不写入任何内容"),
    "keys-copies": Words("n none   s some   u unknown   Esc back", "n 没有   s 有   u 不知道   Esc 返回"),
    "keys-yes-no": Words("y yes   n no   Esc back", "y 是   n 否   Esc 返回"),
    "keys-progress": Words("s stop   l 中文", "s 停止   l English"),
    "keys-result": Words("q quit   l 中文", "q 退出   l English"),
    "keys-unfinished": Words(
        "1-9 bring to an end   n new wipe   l 中文   q quit", "1-9 做完   n 新的擦除   l English   q 退出"
    ),
    "keys-incomplete": Words(
        "g give it up: report INCOMPLETE   q leave it for later", "g 放弃：报告未完成   q 以后再说"
    ),
    "not-here": Words(
        "Put its drive in again to bring it to an end. Given up, it is reported as INCOMPLETE, for good.",
        "请把盘重新接上以做完。放弃后将永久报告为未完成。",
    ),
    "keys-stopped": Words(
        "r go on now   g give it up: report INCOMPLETE   q leave it for later",
        "r 现在继续   g 放弃：报告未完成   q 以后再说",
    ),
    "paste": Words(
        "Paste the text of all QR codes of the ticket (lines LGW1:…), each with Enter. It is read once it is whole.",
        "请粘贴工单全部二维码的文字（LGW1:… 各行），每行按回车。完整后即被读取。",
    ),
    "keys-paste": Words("Enter next line   Esc back", "回车 下一行   Esc 返回"),
    "pasted": Words("{count} lines so far", "已有 {count} 行"),
    "more": Words("▼ more: arrow keys", "▼ 还有：方向键"),
    "small": Words(
        "This window is too small: 60 by 12 is needed. What is under way goes on; no key counts until then.",
        "窗口太小，至少需要 60 列 12 行。正在进行的会继续；在此之前按键无效。",
    ),
}
