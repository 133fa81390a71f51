"""The protocol editor: its tree from the schema, checks while one types, and what it saves."""

from __future__ import annotations

import pytest
from cli_tools import PROTOCOL
from hypothesis import given
from hypothesis import strategies as st
from panels_bench import Panels, panels
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QLineEdit

import protocols
from gui import theme
from gui.panels.editor import EditorPanel
from gui.protocol_document import Problem, ProtocolDocument, shown_value, typed_value
from gui.schema_tree import Key, Kind, Path, schema_of
from pib_lab.errors import ConfigurationError
from pib_lab.experiment import Experiment, Rule, Schedule

__all__ = ["panels"]

VALUE, HELP = 1, 2


def opened(panels: Panels, text: str = PROTOCOL) -> EditorPanel:
    """An editor with a protocol file open in it."""
    (panels.folder / "mine.toml").write_text(text, encoding="utf-8")
    panel = panels.show(EditorPanel)
    panels.desk.choose_protocol("./mine.toml")
    return panel


def type_into(panel: EditorPanel, path: Path, text: str) -> None:
    """Open the editor of a value, replace what is there, letter by letter; the editor stays open."""
    item = panel._items[path]
    panel.tree.scrollToItem(item)
    panel.tree.editItem(item, VALUE)
    line = panel.tree.findChild(QLineEdit)
    assert line is not None
    line.selectAll()
    QTest.keyClicks(line, text) if text else QTest.keyClick(line, Qt.Key.Key_Backspace)


def test_mistake_is_told_beside_its_key_while_one_types(panels: Panels) -> None:
    """The real parser's message stands in the key's line, in red, before the line is left; and goes when mended."""
    panel = opened(panels)
    type_into(panel, ("schedule", "epochs"), "0")
    item = panel._items["schedule", "epochs"]
    assert item.text(HELP) == "■ input should be greater than or equal to 1 (given: 0)"
    assert item.foreground(HELP).color().name() == theme.current().bad
    assert panel.state.text() == "changed, 1 to mend"
    type_into(panel, ("schedule", "epochs"), "3")
    assert item.text(HELP) == "at least 1"
    assert panel.state.text() == "changed, in order"


def test_mistake_of_several_keys_is_told_at_the_unit(panels: Panels) -> None:
    """What concerns how units fit together stands at the unit that does not fit."""
    panel = opened(panels)
    type_into(panel, ("units", 1, "inputs"), "9")
    assert "takes 9 inputs" in panel._items["units", 1].text(HELP)


def test_limit_without_a_unit_is_told(panels: Panels) -> None:
    """Quantities are typed with their units, and said to be wrong without."""
    panel = opened(panels)
    type_into(panel, ("limits", "current"), "3")
    assert "is not a quantity in A" in panel._items["limits", "current"].text(HELP)
    type_into(panel, ("limits", "current"), "3 mA")
    assert panel.state.text() == "changed, in order"


def test_choice_is_made_from_a_list(panels: Panels) -> None:
    """A key with choices offers them, and nothing else can be chosen."""
    panel = opened(panels)
    panel.tree.editItem(panel._items["rule", "optimiser"], VALUE)
    box = panel.tree.findChild(QComboBox)
    assert box is not None
    assert [box.itemText(place) for place in range(box.count())] == ["adam", "momentum"]
    box.setCurrentText("momentum")
    box.activated.emit(1)
    assert panel.document.value(("rule", "optimiser")) == "momentum"


def test_comments_are_kept_and_only_what_changed_is_written(panels: Panels) -> None:
    """The saved file is the old one but for the value."""
    text = PROTOCOL.replace("epochs = 2", "epochs = 2  # few: it is a test") + "\n# the end\n"
    panel = opened(panels, text)
    type_into(panel, ("schedule", "epochs"), "5")
    panel.save_button.click()
    saved = (panels.folder / "mine.toml").read_text(encoding="utf-8")
    assert saved == text.replace("epochs = 2 ", "epochs = 5 ")
    assert panel.state.text() == "saved, in order"


def test_cleared_value_takes_its_default_again(panels: Panels) -> None:
    """An emptied key is taken out of the file, and its default is shown."""
    panel = opened(panels)
    type_into(panel, ("schedule", "entropies_every"), "")
    assert "entropies_every" not in panel.document.text
    assert panel._items["schedule", "entropies_every"].text(VALUE) == "10"


def test_undo_takes_back_the_last_letter(panels: Panels) -> None:
    """Every change can be taken back, to the file as it was."""
    panel = opened(panels)
    type_into(panel, ("schedule", "epochs"), "57")
    panel.undo_button.click()
    assert panel.document.value(("schedule", "epochs")) == 5
    panel.undo_button.click()
    assert not panel.changed


def test_shipped_protocol_is_saved_under_another_name(panels: Panels) -> None:
    """What is shipped stays as it is; the copy is what Start then runs."""
    panel = panels.show(EditorPanel)
    panels.desk.choose_protocol("memristor-digits")
    assert panel.place_edit.text() == "memristor-digits-mine.toml"
    panel.save_button.click()
    assert (panels.folder / "memristor-digits-mine.toml").read_text() == protocols.read("memristor-digits")[1]
    assert panels.desk.protocol == "./memristor-digits-mine.toml"


def test_other_file_is_not_overwritten(panels: Panels) -> None:
    """Saving to a name that is taken by another file is refused, in words."""
    panel = opened(panels)
    (panels.folder / "other.toml").write_text("precious")
    panel.place_edit.setText("other.toml")
    panel.save_button.click()
    assert "is there already" in panel.message.text()
    assert (panels.folder / "other.toml").read_text() == "precious"


def test_changes_are_not_lost_to_another_protocol(panels: Panels) -> None:
    """Opening another protocol does not throw unsaved changes away."""
    panel = opened(panels)
    type_into(panel, ("schedule", "epochs"), "9")
    panels.desk.choose_protocol("memristor-digits")
    assert panel.document.value(("schedule", "epochs")) == 9
    assert "save the changes first" in panel.message.text()


def test_file_that_is_no_protocol_is_refused_in_words(panels: Panels) -> None:
    """A file that is no TOML is told, and what was open stays open."""
    panel = opened(panels)
    (panels.folder / "broken.toml").write_text("name = ")
    panels.desk.choose_protocol("./broken.toml")
    assert "not valid TOML" in panel.message.text()
    assert panel.document.value(("name",)) == "tiny"


def test_unit_is_added_as_a_copy_and_removed(panels: Panels) -> None:
    """A further unit begins as the last one with another name; it can be taken away again."""
    panel = opened(panels)
    panel.tree.setCurrentItem(panel._items["units", 0])
    panel.add_button.click()
    assert panel.document.value(("units", 2, "name")) == "read-out-copy"
    assert panel.tree.currentItem() is panel._items["units", 2]
    panel.remove_button.click()
    assert not panel.document.value(("units", 2))


def test_dry_run_tells_what_the_drivers_say(panels: Panels) -> None:
    """Options that only a driver can check are checked in a process of their own, once the file is saved."""
    panel = opened(panels)
    type_into(panel, ("schedule", "epochs"), "4")
    panel.check_button.click()
    assert "save the protocol first" in panel.message.text()
    panel.save_button.click()
    panel.check_button.click()
    panels.wait(lambda: "in order (REAL hardware): 1.5 k passes" in panel.message.text())
    assert "pulses may run out" in panel.message.text()


def test_tree_shows_limits_help_and_the_protocols_own_comment(panels: Panels) -> None:
    """Help comes from the comments of the schema, unless the protocol says something of its own there."""
    panel = opened(panels, PROTOCOL.replace("batch = 64", "batch = 64 # as on the rig"))
    assert panel._items["dataset", "limit"].text(HELP).startswith("at least 1; use only the first `limit`")
    assert panel._items["schedule", "batch"].text(HELP) == "at least 2; as on the rig"


def test_keys_of_drivers_are_in_the_tree(panels: Panels) -> None:
    """Options that the schema does not know are shown and edited too."""
    panel = opened(panels)
    type_into(panel, ("hardware", "chip", "profile"), "chip-b")
    assert panel.document.value(("hardware", "chip", "profile")) == "chip-b"


@pytest.mark.parametrize("name", sorted(protocols.available()))
def test_every_shipped_protocol_comes_through_unchanged(name: str) -> None:
    """What is not edited is written to the last byte as it was, and is in order."""
    text = protocols.read(name)[1]
    document = ProtocolDocument(text)
    assert document.text == text
    assert document.problems() == []
    assert document.schema.keys


def test_schema_knows_every_key_of_the_model() -> None:
    """No key of a protocol is missing in the tree, whatever is added to the model."""

    def names(key: Key) -> set[str]:
        return {part.name for part in key.keys}

    schema = schema_of(Experiment)
    assert names(schema) == set(Experiment.model_fields)
    parts = {part.name: part for part in schema.keys}
    assert names(parts["schedule"]) == set(Schedule.model_fields)
    assert names(parts["rule"]) == set(Rule.model_fields)
    assert parts["units"].kind is Kind.TABLES


@given(
    st.one_of(
        st.integers(-(2**40), 2**40),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.lists(st.integers(), max_size=3),
    )
)
def test_shown_value_is_read_as_the_same_value(value: object) -> None:
    """What the tree shows, typed again, means the same."""
    assert typed_value(shown_value(value), Kind.ANY) == value


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30))
def test_whatever_is_typed_keeps_the_protocol_whole(text: str) -> None:
    """No letters typed into a value can spoil the file: it stays TOML, with all other keys."""
    document = ProtocolDocument(PROTOCOL)
    document.put(("schedule", "epochs"), typed_value(text, Kind.INTEGER))
    again = ProtocolDocument(document.text)
    assert again.value(("schedule", "batch")) == 64
    again.problems()


def test_unreadable_text_is_refused() -> None:
    """A text that is no TOML is an error that says where."""
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        ProtocolDocument("a = [")


def test_mistakes_are_parted_into_path_and_message() -> None:
    """A line of the parser is led to the key that it is about, by position also where it names the entry."""
    document = ProtocolDocument(PROTOCOL.replace('driver = "mock', 'drivr = "mock'))
    assert Problem(("hardware", "chip", "driver"), "is missing") in document.problems()
    document = ProtocolDocument(PROTOCOL.replace("inputs = 8", "inputs = 7"))
    assert [problem.path for problem in document.problems()] == [("units", 1)]
