"""The catalogue: whole, without contradictions, and each message found in every wrapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from string import Formatter

import pytest

from fixedram_fmt.diagnosis import Side, diagnose
from fixedram_fmt.diagnosis.cause import Rank
from fixedram_fmt.diagnosis.entry import LAST, Entry, Text, catalogue, harmless
from fixedram_fmt.diagnosis.search import said_in
from fixedram_fmt.diagnosis.template import Template
from fixedram_fmt.validation.messages import MESSAGES
from fixedram_fmt.validation.rules import all_rules

ENTRIES = catalogue()
TEXTS = [(entry, text) for entry in ENTRIES for text in entry.wordings]
NUMBERS = {"d": "7", "x": "1f"}


def example(text: Text) -> str:
    """A message with something in its holes."""
    return "".join(
        literal + ("" if name is None else NUMBERS.get((spec or "")[-1:], f"{name}-1"))
        for literal, name, spec, _ in Formatter().parse(text.template.text)
    )


WRAPPINGS: dict[str, Callable[[str], str]] = {
    "stderr": lambda line: f"qemu-system-x86_64: {line}\n",
    "libvirt's log": lambda line: (
        "2026-11-27 06:00:00.123+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4 (Debian"
        "), qemu version: 10.0.2, kernel: 6.1, hostname: host\n"
        "LC_ALL=C \\\n/usr/bin/qemu-system-x86_64 \\\n-name guest=vm,debug-threads=on \\\n"
        f"-incoming defer\n2026-11-27T06:00:00.123456Z qemu-system-x86_64: {line}\n"
    ),
    "journal": lambda line: f"Nov 27 06:00:00 host libvirtd[123]: internal error: {line}\n",
    "QMP": lambda line: (
        '{"error": {"class": "GenericError", "desc": "' + line.replace('"', '\\"') + '"}}\n'
    ),
    "virsh": lambda line: f"error: Failed to restore domain from x.save\nerror: {line}\n",
    "colours": lambda line: f"\x1b[1;31mqemu-kvm: {line}\x1b[0m\r\n",
    "a mail": lambda line: f"> qemu-kvm: {line}\n",
    "a web page": lambda line: "qemu-kvm: " + line.replace('"', "&quot;").replace("'", "&#39;"),
}


def test_every_message_of_a_verdict_has_an_entry() -> None:
    assert {entry.key for entry in ENTRIES} - {None} == {*MESSAGES, LAST}


def test_no_message_of_a_verdict_is_written_a_second_time() -> None:
    known = {text for message in MESSAGES.values() for text in (message.template,)} - {""}
    known |= {text for message in MESSAGES.values() for text in message.since.values()}
    assert [text for entry in ENTRIES for text in entry.texts if text in known] == []


def test_no_text_stands_for_two_entries() -> None:
    times = Counter(text.template.text for _, text in TEXTS)
    assert [text for text, number in times.items() if number > 1] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key or entry.texts[0])
def test_an_entry_is_whole(entry: Entry) -> None:
    assert entry.wordings, "there is a text to look for"
    assert entry.meaning.endswith((".", "}"))
    assert entry.fix.endswith(".")
    assert entry.origin
    assert set(entry.rules) <= all_rules().keys()
    for sentence in (entry.meaning, entry.fix):
        used = Template(sentence).holes
        for text in entry.wordings:
            assert used <= text.template.holes, text.template.text


def test_every_side_is_somebodys() -> None:
    assert {entry.side for entry in ENTRIES} == set(Side)
    assert {entry.rank for entry in ENTRIES} == set(Rank)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.slow
def test_every_message_is_found_in_every_wrapping(wrapping: str) -> None:
    missed = []
    for entry, text in TEXTS:
        line = example(text)
        told = diagnose(WRAPPINGS[wrapping](line))
        found = [cause for cause in told.causes if cause.explanation and cause.message in line]
        if not any(cause.source == entry.origin and cause.rank is entry.rank for cause in found):
            missed.append(line)
    assert missed == []


@pytest.mark.parametrize(("entry", "text"), TEXTS, ids=[text.template.text for _, text in TEXTS])
def test_no_message_is_taken_for_another(entry: Entry, text: Text) -> None:
    """Of what is found in it, its own has the most words."""
    said = said_in(example(text))
    longest = max(said, key=lambda one: one.match.weight)
    assert longest.entry is entry


def test_what_is_no_error_is_none() -> None:
    for one in harmless():
        told = diagnose(f"2026-11-27 06:00:00.1+0000: {example(Text(Template(one.text)))}")
        assert (told.causes, told.unknown) == ((), ())
