# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""What a host says of a drive, a step or a hidden area in a sentence, and the same sentence in Chinese.

A report is signed as its host wrote it, in English, and both languages come from that: an entry for each sentence,
`{name}` where a number, a name, the words of a tool, or another such sentence stands. Words of a tool or a drive stay
as they are. A test holds every sentence of the host's code against these.
"""

import re
from functools import cache, lru_cache

from shared.sanitization.technique import Technique
from shared.sanitization.words import TECHNIQUES
from shared.words import Words

_NAMED = re.compile(r"\\\{(\w+)\\\}")
# What stands in a sentence is one word, such as a number, but for these.
_ONE_WORD, _OF_WORDS = r"\S+", dict.fromkeys(("said", "command", "named"), ".+")
_PLACE = re.compile(r"\{\w+\}")
_OF_STEP = re.compile(rf"(?P<technique>{'|'.join(Technique)})(?P<part> pass \d+ of \d+)?: (?P<said>.+)")

DETAILS = (
    # whether a drive has a technique
    Words("everything that the host can address is written", "写入主机可寻址的全部区域"),
    Words("people destroy it, and record that at the centre", "由人员销毁，并在中心登记"),
    Words("a virtual drive has no firmware of its own", "虚拟磁盘没有自己的固件"),
    Words("the drive is {protocol}", "该硬盘为 {protocol} 接口"),
    Words("not known: {said}", "不明：{said}"),
    Words("it was not looked for", "未查询"),
    Words(
        "a USB bridge stands before the drive; many do not pass this command on, or garble it: "
        "take the drive out and connect it directly",
        "硬盘前有 USB 转接桥，许多转接桥不转发或会弄错此命令：请取出硬盘直接连接",
    ),
    Words("the drive says that it has it", "硬盘表示支持"),
    Words("the drive says that it does not have it", "硬盘表示不支持"),
    Words("the drive lists it among its commands", "硬盘在其命令列表中列有此项"),
    Words("the drive has no sanitize commands", "硬盘没有净化（sanitize）命令"),
    Words("the drive has no security commands", "硬盘没有安全命令"),
    Words("the drive has no enhanced erase", "硬盘没有增强擦除"),
    Words("the drive has it, is not frozen, and is under no password", "硬盘支持，未冻结，也未设密码"),
    Words(
        "frozen by the machine's firmware: send the machine to sleep and wake it, or pull and give back the drive's "
        "power while it runs, then look again",
        "已被机器固件冻结：让机器休眠再唤醒，或在运行中断开并恢复硬盘供电，然后重新查看",
    ),
    Words("the drive is locked by a password that nobody gave us", "硬盘被未知密码锁定"),
    Words(
        "the drive is locked by a password that nobody gave us. Where a wipe was cut off and given up, {command} "
        "takes it off",
        "硬盘被未知密码锁定。若为中断后放弃的擦除所致，可用 {command} 解除",
    ),
    Words(
        "the drive is under a password already: have it taken off first. Where a wipe was cut off and given up, "
        "{command} takes it off",
        "硬盘已设有密码：请先解除。若为中断后放弃的擦除所致，可用 {command} 解除",
    ),
    Words(
        "too many wrong passwords were tried: cut the drive's power, then look again",
        "密码错误次数过多：断开硬盘供电后重新查看",
    ),
    Words("frozen against sanitize until the drive's power is cut", "已冻结，断开硬盘供电前不能净化"),
    Words("the drive is at a sanitize: wait for its end", "硬盘正在净化：请等待结束"),
    Words(
        "it would erase the drive's {others} other namespace(s) as well, which the ticket does not name",
        "会同时擦除工单未列出的其他 {others} 个命名空间",
    ),
    Words(
        "the drive serves {count} controllers, and what the others do with it is not known here",
        "硬盘连接着 {count} 个控制器，其他控制器的用途在此不明",
    ),
    Words("it would leave out namespaces or capacity that is in none", "会遗漏其他命名空间或未分配的容量"),
    Words("the drive takes discards; all of it is read back afterwards", "硬盘接受丢弃命令，之后全盘回读"),
    Words("the drive takes no discards", "硬盘不接受丢弃命令"),
    Words("the kernel does not say whether the drive takes discards", "内核未说明硬盘是否接受丢弃命令"),
    Words("LUKS headers of {count} volumes lie on it", "盘上有 {count} 个 LUKS 卷头"),
    Words("no LUKS header lies on the drive or its partitions", "硬盘及其分区上没有 LUKS 卷头"),
    Words("no LUKS header lies on it", "盘上没有 LUKS 卷头"),
    Words("the drive could not be read: {said}", "无法读取硬盘：{said}"),
    Words("the drive would not take it: {said}", "硬盘未接受：{said}"),
    # what became of a command
    Words("stopped before the command was given", "在发出命令前停止"),
    Words("stopped by a person", "由人员停止"),
    Words("stopped", "已停止"),
    Words("a person stopped it", "由人员停止"),
    Words("nothing was done now: {said}", "此次未执行任何操作：{said}"),
    Words("the drive could not be asked: {said}", "无法查询硬盘：{said}"),
    Words("the drive does not say how it is; nothing was started", "硬盘未报告状态，未开始"),
    Words("the drive is at another sanitize already; wait for its end", "硬盘已在进行另一次净化，请等待结束"),
    Words("the drive is frozen against sanitize until its power is cut", "硬盘已冻结，断电前不能净化"),
    Words("the drive does not say what became of it", "硬盘未说明结果"),
    Words(
        "whether the drive took the command is not known, and it says nothing more: {said}",
        "硬盘是否接受命令不明，且不再应答：{said}",
    ),
    Words("the drive did not take the command: {said}", "硬盘未接受命令：{said}"),
    Words("the card did not take the command: {said}", "存储卡未接受命令：{said}"),
    Words("the drive did not take it at byte {first}: {said}", "硬盘在第 {first} 字节处未接受：{said}"),
    Words(
        "it cannot be stopped: the drive goes on, also after its power was cut; go on here to see its end",
        "无法停止：硬盘会继续，断电后也会继续；请在此继续以查看结果",
    ),
    Words("the drive says nothing more; it goes on by itself: ask again", "硬盘不再应答；它会自行继续，请再次查询"),
    Words(
        "it is at work still after {seconds} s; it goes on by itself: ask again",
        "{seconds} 秒后仍在进行；它会自行继续，请再次查询",
    ),
    Words("the drive says that it failed", "硬盘报告失败"),
    Words("the drive says that it ended well", "硬盘报告成功结束"),
    Words(
        "the command was answered with success, and the drive was never seen at work nor names this run",
        "命令返回成功，但从未看到硬盘在执行，其日志也未记录本次操作",
    ),
    Words(
        "it was at work, and its log does not say that it ended well", "曾看到硬盘在执行，但其日志未说明成功结束"
    ),
    Words(
        "the drive is under a password already, which nobody gave us: have it taken off, then go on",
        "硬盘已设有未知密码：请解除后继续",
    ),
    Words("the drive does not answer; nothing was started", "硬盘无应答，未开始"),
    Words("the drive does not say whether it took the password", "硬盘未说明是否接受密码"),
    Words("the drive did not take a password: {said}", "硬盘未接受密码：{said}"),
    Words("{said}; the drive may be erasing still, go on later", "{said}；硬盘可能仍在擦除，请稍后继续"),
    Words("{said}; what became of it is not known", "{said}；结果不明"),
    Words("the drive does not answer after it: {said}", "命令之后硬盘无应答：{said}"),
    Words("it kept the password, so it did not end well", "硬盘仍保留密码，因此未成功结束"),
    Words("the drive did not erase: {said}; it is under our password still ({command})",
          "硬盘未擦除：{said}；硬盘仍设有本软件的密码（{command}）"),
    Words("the drive did not erase: {said}", "硬盘未擦除：{said}"),
    Words(
        "the drive took the password, the erase, and dropped the password", "硬盘接受密码、执行擦除并清除了密码"
    ),
    Words("the drive ended the command with success; it keeps no log of it", "硬盘以成功结束命令；不留日志"),
    Words(
        "it would erase other namespaces of the drive as well, which the ticket does not name",
        "会同时擦除工单未列出的其他命名空间",
    ),
    Words("the card was busy with it and said that it ended; it keeps no log", "存储卡曾忙于执行并报告结束；不留日志"),
    Words(
        "every discard was answered with success; only a read back shows more", "每次丢弃均返回成功；须回读才能确认"
    ),
    # what became of a pass
    Words("pass {number} of {count}", "第 {number} 遍，共 {count} 遍"),
    Words("more than {count} sectors cannot be written", "超过 {count} 个扇区无法写入"),
    Words("the drive is gone or no longer writable: {said}", "硬盘已断开或不能再写入：{said}"),
    Words("the drive was not sampled: {said}", "未对硬盘抽样：{said}"),
    # what an attempt came to
    Words("given up by a person; {said}", "由人员放弃；{said}"),
    Words("given up by a person", "由人员放弃"),
    Words("nothing was done to the drive", "未对硬盘执行任何操作"),
    Words("the read back was not brought to its end", "回读未完成"),
    Words("the drive was not read back", "未回读硬盘"),
    # LUKS
    Words(
        "it has {count} LUKS volumes, and {most} at the most are erased in one step",
        "盘上有 {count} 个 LUKS 卷，一次最多擦除 {most} 个",
    ),
    Words("the drive was not read again: {said}", "未再次读取硬盘：{said}"),
    Words("a LUKS header is there after all", "盘上仍有 LUKS 卷头"),
    Words("other bytes than were written came back", "读回的内容与写入的不同"),
    Words("key slots of partition {number}, which has no node, were overwritten only",
          "分区 {number} 没有设备节点，其密钥槽仅被覆写"),
    Words("key slots of {node} were overwritten only, for cryptsetup failed: {said}",
          "cryptsetup 失败，{node} 的密钥槽仅被覆写：{said}"),
    Words("copies of the header below a virtual drive, such as snapshots", "虚拟磁盘之下的卷头副本，例如快照"),
    Words("old pages of the header in flash or behind a bridge", "闪存中或转接桥之后的卷头旧页"),
    Words("key slots: that the headers are gone was not proved", "密钥槽：未能证明卷头已消失"),
    Words("header areas that were not overwritten whole", "未完全覆写的卷头区域"),
    Words("data that no LUKS header of this drive encrypts", "未由本盘 LUKS 卷头加密的数据"),
    Words("known copies of header or key: {named}", "已知的卷头或密钥副本：{named}"),
    Words("copies of header or key: nobody says that there are none", "卷头或密钥副本：无人声明不存在"),
    Words("what was stored before it was encrypted: nobody says that nothing was", "加密之前存入的内容：无人声明没有"),
    # hidden areas
    Words(
        "a USB bridge answers for the drive, so what it hides cannot be asked", "由 USB 转接桥应答，无法查询隐藏区域"
    ),
    Words("the drive has accessible max address instead", "硬盘改用可访问最大地址（AMA）"),
    Words("the drive says that it can have none", "硬盘表示不可能有"),
    Words("all {native} sectors can be addressed", "全部 {native} 个扇区均可寻址"),
    Words("{current} of {native} sectors can be addressed", "{native} 个扇区中有 {current} 个可寻址"),
    Words("{count} sectors were opened for good", "已永久开放 {count} 个扇区"),
    Words("it could not be opened (cut the drive's power and try once more): {said}",
          "无法开放（请断开硬盘供电后再试）：{said}"),
    Words("the drive does not say how many sectors it has: {said}", "硬盘未说明扇区数：{said}"),
    Words("the drive does not answer for its overlay: {said}", "硬盘未应答其配置覆盖（DCO）查询：{said}"),
    Words("the drive is one namespace, and all of it", "硬盘只有一个命名空间，并占全部容量"),
    Words("{others} other namespace(s); {left} bytes are in none", "另有 {others} 个命名空间；{left} 字节未分配"),
    Words("the card says that it has none", "存储卡表示没有"),
    Words(
        "two boot partitions of {boot} bytes, and {rpmb} bytes that only their key's holder can write",
        "两个 {boot} 字节的启动分区，以及只有持钥者可写的 {rpmb} 字节",
    ),
    # what a drive, or the program that speaks to it, does not answer
    Words("the drive does not answer IDENTIFY DEVICE: {said}", "硬盘未应答 IDENTIFY DEVICE：{said}"),
    Words("the drive does not answer SANITIZE STATUS: {said}", "硬盘未应答 SANITIZE STATUS：{said}"),
    Words("the drive does not answer REQUEST SENSE: {said}", "硬盘未应答 REQUEST SENSE：{said}"),
    Words("the drive does not answer {command}: {said}", "硬盘未应答 {command}：{said}"),
    Words("the drive does not say which commands it has: {said}", "硬盘未说明支持哪些命令：{said}"),
    Words("the card does not hand out its EXT_CSD: {said}", "存储卡未提供 EXT_CSD：{said}"),
    Words("answer of {command} is malformed: {said}", "{command} 的应答不合格式：{said}"),
    Words("{program} is not installed (package {package})", "未安装 {program}（软件包 {package}）"),
    Words("{program} cannot be started: {said} (package {package})", "无法启动 {program}：{said}（软件包 {package}）"),
    Words("{program} did not end within {seconds} s, and cannot be ended (package {package})",
          "{program} 在 {seconds} 秒内未结束，且无法终止（软件包 {package}）"),
    Words("{program} did not end within {seconds} s (package {package})",
          "{program} 在 {seconds} 秒内未结束（软件包 {package}）"),
    # health
    Words("a virtual drive has no state of its own", "虚拟磁盘没有自身的健康状态"),
    Words("{tool}: the drive told neither its state nor its temperature", "{tool}：硬盘未报告状态和温度"),
    Words("{tool} printed nothing and ended with {code}", "{tool} 无输出，退出码 {code}"),
    Words("{tool} ended with {code}: {said}", "{tool} 退出码 {code}：{said}"),
)  # fmt: skip


@lru_cache(maxsize=1000)
def chinese(detail: str) -> str:
    """Return the sentence in Chinese; what is not of our own words, or has no Chinese, as it is."""
    for pattern, words in _patterns():
        if found := pattern.fullmatch(detail):
            return words.zh.format(**{name: chinese(value) for name, value in found.groupdict().items()})
    if of_step := _OF_STEP.fullmatch(detail):
        name, part = TECHNIQUES[Technique(of_step["technique"])].zh, chinese((of_step["part"] or "").strip())
        return f"{name} {part}".strip() + f"：{chinese(of_step['said'])}"
    parts = detail.split("; ")
    return "；".join(map(chinese, parts)) if len(parts) > 1 else detail


def in_both(detail: str) -> str:
    """Return the sentence as it was signed, and behind it the Chinese where that is another one."""
    translated = chinese(detail)
    return detail if translated == detail else f"{detail}  {translated}"


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Words], ...]:
    """Those that say the most come first: a text may match several, and is the most exact of them."""
    exact = sorted(DETAILS, key=lambda words: len(_PLACE.sub("", words.en)), reverse=True)
    return tuple((_pattern(words.en), words) for words in exact)


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile(
        _NAMED.sub(lambda name: f"(?P<{name[1]}>{_OF_WORDS.get(name[1], _ONE_WORD)})", re.escape(english))
    )
