"""What spec/ says of the rules is what the rules say."""

from __future__ import annotations

from fixedram_fmt.validation import AREAS, all_rules
from fixedram_fmt.validation.effects import EFFECTS


def test_every_rule_explains_itself() -> None:
    rules = all_rules()
    assert len(rules) >= 60
    assert {rule.id[0] for rule in rules.values()} == set(AREAS)
    for rule in rules.values():
        assert rule.title
        assert rule.source
        assert rule.why or rule.fix, rule.id


def test_effects_are_of_rules_that_exist() -> None:
    assert set(EFFECTS) <= set(all_rules())
