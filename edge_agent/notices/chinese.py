# ruff: noqa: RUF001 - Chinese has commas and colons of its own
from edge_agent.notices.language import Language
from edge_agent.notices.notice import Kind
from shared.devices.verdict import Cause

CHINESE = Language(
    title="设备防护",
    kinds={
        Kind.STORAGE: "存储设备",
        Kind.KEYBOARD: "输入设备",
        Kind.NETWORK: "网络或无线设备",
        Kind.OTHER: "设备",
    },
    device="端口 {port} 上的{kind}“{name}”",
    causes={
        Cause.RULE: "{device}{blocked}：本机的策略禁止使用它。",
        Cause.DEFAULT: "{device}{blocked}：本机的策略没有把它列入允许使用的设备。",
        Cause.NO_POLICY: "{device}{blocked}：本机尚未收到策略，在此之前不允许使用任何新设备。",
        Cause.ROOT_HUB: "{device}是本机的一部分。",
        Cause.PINNED_CONSOLE: "{device}属于本机控制台，始终可以使用。",
        Cause.RESCUE: "{device}{blocked}：应急端口的可用时间已过。请先关机，插好设备后再开机。",
        Cause.LAPSED: "{device}{blocked}：它只在规定的时间内允许使用，而现在时间未到或已过，"
        "或者本机无法确认时钟是否准确。",
        Cause.SUSPICIOUS: "{device}{blocked}：它与以前不同，或者表现得像伪造的设备。请拔下它，也不要在其他机器上使用。",
        Cause.NOT_ENCRYPTED: "{device}{blocked}：这里只允许使用加密的存储设备，"
        "而它没有全部加密，或者无法识别其加密方式。",
        Cause.NOT_READ_ONLY: "{device}{blocked}：这里只允许读取它，本机无法确保它不被写入。",
        Cause.UNRECORDED: "{device}{blocked}：本机无法记录设备的插入，而未经记录的设备不允许使用。"
        "本机的硬盘可能已满或已损坏。",
        Cause.UNREADABLE: "{device}{blocked}：它没有正确说明自己是什么设备，可能已损坏或是伪造的。",
    },
    blocked="已被阻止",
    would_be_blocked="本应被阻止",
    allowed="{device}允许使用。",
    rejected="它也已被断开，请拔下它。",
    read_only="{device}在这里只能读取，不能写入。",
    rescue="{device}正在通过应急端口短时使用，此次使用会被记录。",
    observed="它现在仍可使用，因为策略正在试运行；从管理员确定的日期起将不能使用。",
    call="如果需要使用，请联系：{contact}。",
    call_nobody="如果需要使用，请联系本机的管理员。",
    join="",
)
