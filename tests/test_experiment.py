"""Protocol files: what is accepted, what is refused, and that every refusal says where and what to write instead."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

import protocols
from pib_lab import experiment
from pib_lab.errors import ConfigurationError
from pib_lab.experiment import Experiment, check_options, parse_experiment
from pib_lab.overrides import apply_overrides
from pib_lab.procedure import is_procedure, parse_procedure

DOCUMENT = Path(__file__).parents[1] / "docs" / "protocols.md"
TEXT = """
name = "two"
dataset = { name = "digits" }
hardware.chip = { driver = "mock-memristor-chip", profile = "ideal" }
schedule = { epochs = 2, batch = 32 }

[[units]]
name = "hidden"
inputs = 64
outputs = 16
objective = { name = "renyi", beta = 0.1 }

[[units]]
name = "read-out"
inputs = 16
outputs = 10
objective = "cross-entropy"

[[faults]]
step = 5
fraction = 0.1
"""
TABLES = [
    value
    for value in vars(experiment).values()
    if isinstance(value, type) and issubclass(value, BaseModel) and value.model_fields
]


def refusal(*overrides: str, text: str = TEXT) -> str:
    """The message with which a protocol is refused."""
    with pytest.raises(ConfigurationError) as caught:
        parse_experiment(apply_overrides(text, overrides))
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(protocols.available()))
def test_shipped_protocols_are_valid(name: str) -> None:
    """Every shipped protocol parses, has a title, and is called by its file's name."""
    found, text = protocols.read(name)
    parsed = parse_procedure(text) if is_procedure(text) else parse_experiment(text)
    assert parsed.name == found == name
    assert protocols.available()[name]


def test_a_protocol_is_read_from_a_path(tmp_path: Path) -> None:
    """A path to a TOML file is as good as a shipped name; the file's name is the protocol's."""
    (tmp_path / "mine.toml").write_text(TEXT, encoding="utf-8")
    assert protocols.read(str(tmp_path / "mine.toml")) == ("mine", TEXT)


def test_an_unknown_protocol_names_the_nearest_shipped_one() -> None:
    """A misspelt protocol name is answered with the right one."""
    with pytest.raises(ConfigurationError, match="did you mean 'memristor-digits'"):
        protocols.read("memristor-digit")


def test_a_protocol_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """A binary file given as a protocol is an error that names it."""
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"mine\.toml"):
        protocols.read(str(tmp_path / "mine.toml"))


def test_options_of_plugins_are_kept_apart_from_their_names() -> None:
    """Further keys of a device or an objective are its options; a bare text is an objective without options."""
    parsed = parse_experiment(TEXT)
    assert parsed.hardware["chip"].options == {"profile": "ideal"}
    assert parsed.units[0].objective.options == {"beta": 0.1}
    assert parsed.units[1].objective.name == "cross-entropy"
    assert parsed.device_of(parsed.units[0]) == "chip"


@pytest.mark.parametrize(
    ("override", "where", "hint"),
    [
        ("sed=3", "sed", "'seed'"),
        ("dataset.nme=x", "dataset.nme", "'name'"),
        ("schedule.epohs=3", "schedule.epohs", "'epochs'"),
        ("units.hidden.ouputs=3", "units.0.ouputs", "'outputs'"),
        ("conditioning.headrom=3", "conditioning.headrom", "'headroom'"),
        ("rule.learning_rat=0.1", "rule.learning_rat", "'learning_rate'"),
        ("limits.curent='1 mA'", "limits.curent", "'current'"),
        ("faults.0.fractoin=0.1", "faults.0.fractoin", "'fraction'"),
        ("scan.at_strat=true", "scan.at_strat", "'at_start'"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest_right_one(override: str, where: str, hint: str) -> None:
    """A misspelt key in any table is refused, never ignored."""
    message = refusal(override)
    assert message.startswith(f"{where}: unknown key; did you mean {hint}?")


@pytest.mark.parametrize(
    ("override", "where", "says"),
    [
        ("schedule.epochs=0", "schedule.epochs", "greater than or equal to 1"),
        ("schedule.batch=1", "schedule.batch", "greater than or equal to 2"),
        ("dataset.validation=1.0", "dataset.validation", "less than 1"),
        ("seed=-1", "seed", "greater than or equal to 0"),
        ("rule.learning_rate=0", "rule.learning_rate", "greater than 0"),
        ("rule.learning_rate=nan", "rule.learning_rate", "given: nan"),
        ("limits.saturated=1.5", "limits.saturated", "less than or equal to 1"),
        ("limits.pulses=-1", "limits.pulses", "greater than or equal to 0"),
        ("limits.current='1 V'", "limits.current", "not a quantity in A"),
        ("limits.current='-1 mA'", "limits.current", "above zero"),
        ("limits.current=3", "limits.current", "has no unit"),
        ("limits.drive=0.2", "limits.drive", "has no unit"),
        ("faults.0.kind=hihg", "faults.0.kind", "did you mean 'high'"),
        ("rule.optimiser=adm", "rule.optimiser", "did you mean 'adam'"),
        ("faults.0.unit=hiden", "faults.0", "did you mean 'hidden'"),
        ("units.1.device=chp", "units.1 (read-out)", "did you mean 'chip'"),
        ("units.1.after=hiden", "units.1 (read-out)", "did you mean 'hidden'"),
        ("units.1.name=hidden", "units.0 (hidden)", "used twice"),
        ("units.1.name=a b", "units.1.name", "given: 'a b'"),
        ("hardware.chip=mock", "hardware.chip", "must be a table"),
        ("units=5", "units", "must be a list of tables"),
        ("schedule=5", "schedule", "must be a table"),
    ],
)
def test_a_wrong_value_names_its_path_and_what_is_allowed(override: str, where: str, says: str) -> None:
    """Values out of range, without unit, of the wrong unit or of the wrong kind are refused with the key's path."""
    message = refusal(override)
    assert message.startswith(f"{where}: ")
    assert says in message


def test_shapes_that_do_not_chain_name_both_units() -> None:
    """A unit that takes another number of inputs than it is given is refused."""
    message = refusal("units.hidden.outputs=17")
    assert message == "units.1 (read-out): takes 16 inputs, but 'hidden' gives 17 outputs"


def test_units_must_form_one_chain() -> None:
    """Two units driven by the same one are refused."""
    third = '\n[[units]]\nname = "third"\ninputs = 16\noutputs = 10\nobjective = "cross-entropy"\nafter = "hidden"\n'
    assert "one whole chain" in refusal(text=TEXT + third)


def test_a_hidden_unit_must_be_rectified() -> None:
    """Its signal is the next unit's drive, which cannot be negative."""
    assert "units.0 (hidden).rectify: a hidden unit's signal" in refusal("units.hidden.rectify=false")


def test_a_device_must_be_named_where_there_are_two() -> None:
    """With two devices a unit has to say which serves it."""
    assert "one of chip, other" in refusal("hardware.other={driver='template'}")


def test_missing_keys_are_named_all_at_once() -> None:
    """Every mistake gets a line of its own."""
    lines = refusal(text='title = "nothing else"').splitlines()
    assert {f"{key}: is missing" for key in ("name", "dataset", "hardware", "units", "schedule")} == set(lines)


def test_text_that_is_not_toml_is_refused_with_its_place() -> None:
    """A syntax error says in which line it is."""
    assert "line 2" in refusal(text='name = "a"\nseed = = 3\n')


def test_overrides_reach_tables_lists_and_names() -> None:
    """Overrides go by key, by position and by an entry's name, make tables, and read bare words as texts."""
    text = apply_overrides(
        TEXT,
        (
            "schedule.epochs=7",
            "rule.learning_rate=0.03",
            "units.1.rectify=true",
            "units.hidden.objective.beta=0.5",
            "hardware.chip.profile=chip-b",
            "faults.0.cluster=row",
        ),
    )
    parsed = parse_experiment(text)
    assert parsed.schedule.epochs == 7
    assert parsed.rule.learning_rate == pytest.approx(0.03)
    assert parsed.units[1].rectify is True
    assert parsed.units[0].objective.options == {"beta": 0.5}
    assert parsed.hardware["chip"].options == {"profile": "chip-b"}
    assert parsed.faults[0].cluster == "row"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("schedule.epochs", "write key.path=value"),
        ("schedule..epochs=3", "write key.path=value"),
        ("name.deeper=3", "name is a value, not a table"),
        ("units.hiden.outputs=3", "did you mean 'hidden'"),
        ("units.7.outputs=3", "known: hidden, read-out"),
        ("faults.4.step=3", "known: 0"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(override: str, says: str) -> None:
    """An override that cannot be applied is quoted, with what would be right."""
    message = refusal(override)
    assert f"--set {override}" in message
    assert says in message


def test_check_options_names_the_nearest_option() -> None:
    """A plug-in's unknown option is refused by its path, and its known ones pass."""
    check_options({"profile": "ideal"}, {"profile", "serial"}, "hardware.chip")
    with pytest.raises(ConfigurationError, match=r"hardware\.chip\.profil: unknown key; did you mean 'profile'"):
        check_options({"profil": "ideal"}, {"profile", "serial"}, "hardware.chip")


def test_experiments_are_frozen() -> None:
    """A parsed protocol cannot be changed by accident."""
    parsed = parse_experiment(TEXT)
    with pytest.raises(ValueError, match="frozen"):
        parsed.schedule.epochs = 3  # type: ignore[misc]


def test_there_is_a_json_schema() -> None:
    """Editors can be given a JSON schema of protocols that forbids unknown keys."""
    schema = json.loads(json.dumps(Experiment.model_json_schema()))
    assert set(schema["required"]) == {"name", "dataset", "hardware", "units", "schedule"}
    assert schema["$defs"]["Limits"]["additionalProperties"] is False


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
def test_every_key_is_documented(model: type[BaseModel]) -> None:
    """The reference mentions every key of every table."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [key for key in model.model_fields if f"`{key}`" not in text] == []


def test_the_documented_example_is_valid() -> None:
    """The worked example of the reference is a protocol that parses."""
    found = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert parse_experiment(found.group(1)).faults[0].step == 100
