"""What spec/ says of the rules is what the rules say."""

from __future__ import annotations

from fixedram_fmt.validation import AREAS, all_rules
from fixedram_fmt.validation.effects import Effect
from fixedram_fmt.validation.messages import MESSAGES


def test_every_rule_explains_itself() -> None:
    rules = all_rules()
    assert len(rules) >= 60
    assert {rule.id[0] for rule in rules.values()} == set(AREAS)
    for rule in rules.values():
        assert rule.title
        assert rule.source
        assert rule.why or rule.fix, rule.id


def test_what_rules_say_is_in_the_table_of_messages() -> None:
    for rule in all_rules().values():
        for effect in (rule.effect, *rule.since.values()):
            if isinstance(effect, Effect):
                assert not effect.says or effect.says in MESSAGES, rule.id
                assert effect.says or effect.text, rule.id
