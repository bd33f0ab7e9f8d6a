"""What happened, why, and whom to call: the sentences for the people at the machine, English and Chinese.

A device's name is quoted as it gives it, printable and marked as a name, so that it never reads as a sentence of ours.
The `detail` of a verdict is English and for whoever has to find the cause; it is not part of the sentence.
"""

import re

from edge_agent.notices.chinese import CHINESE
from edge_agent.notices.english import ENGLISH
from edge_agent.notices.language import Language
from edge_agent.notices.notice import MAX_CONTACT_CHARS, Told
from shared.devices.device import MAX_TEXT_CHARS
from shared.devices.printable import printable
from shared.devices.verdict import Access, Cause, Target

_LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def title(language: str) -> str:
    return _LANGUAGES.get(language, ENGLISH).title


def sentence(told: Told, language: str = "") -> str:
    """Return one line: what happened, why, and whom to call; in the policy's language unless `language` names one."""
    words = _LANGUAGES.get(language or told.language, ENGLISH)
    given = {
        "device": words.device.format(kind=words.kinds[told.kind], name=_name(told), port=told.port),
        "blocked": words.would_be_blocked if told.is_observed else words.blocked,
        "contact": _contact(told),
    }
    return words.join.join(part.format(**given) for part in _parts(words, told))


def _parts(words: Language, told: Told) -> list[str]:
    """Return what is said, without the names."""
    call = words.call if _contact(told) else words.call_nobody
    if told.meant is not Target.ALLOW:
        parts = [words.causes[told.cause]]
        if told.is_observed:
            parts.append(words.observed)
        elif told.meant is Target.REJECT:
            parts.append(words.rejected)
        return [*parts, call]
    if told.cause in (Cause.ROOT_HUB, Cause.PINNED_CONSOLE):
        return [words.causes[told.cause]]
    if told.cause is Cause.RESCUE:
        return [words.rescue, call]
    if told.access is Access.READ_ONLY:
        return [words.read_only, call]
    return [words.allowed]


def _name(told: Told) -> str:
    # A quotation mark would end the name early, and the rest of it would read as ours.
    name = re.sub('["“”„‟«»「」『』]', "'", printable(told.name, MAX_TEXT_CHARS)).strip()
    return name or told.id


def _contact(told: Told) -> str:
    return printable(told.contact, MAX_CONTACT_CHARS).strip()
