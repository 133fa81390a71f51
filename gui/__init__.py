"""The desktop: an operator starts, watches and stops runs. It renders events and sends commands, nothing else.

Every run is a process of its own; the desktop starts one or attaches to one, and its end never ends a run. No torch and
no hardware is imported here, and run files are only read.

    source ─▶ bridge ─▶ model ─▶ panels        events of a live run, or of a file that is replayed
    panels ─▶ desk ─▶ client, processes        start, pause, resume, abort, stop

`curves`, `model` know no Qt. `bridge` is the only place where another thread meets Qt. A new panel is a file in
`gui/panels` with a subclass of `gui.panel.Panel`, and a line in `gui.panels.PANELS`.
"""
