"""A notebook open in a browser, driven by keyboard as a learner would: cells, explorers, their controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course.commands.browser import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


@dataclass
class Cell:
    """A cell as it stands: its text, and of code what came out."""

    index: int
    kind: str
    source: str
    was_run: bool
    is_live: bool
    errors: list[str]


_PANEL = "const panel = jupyterapp.shell.currentWidget, notebook = panel?.content;"
_OPEN_INSTEAD = """async (path) => {
  for (const open of [...jupyterapp.shell.widgets("main")]) open.dispose(); // to close would ask whether to save
  await jupyterapp.commands.execute("docmanager:open", { path });
}"""
_IS_OPEN = """(path) => {
  const shown = globalThis.jupyterapp?.shell.currentWidget;
  return shown?.context?.path === path && shown.content.model?.cells.length > 0;
}"""
_NO_AUTOSAVE = """
const toggle = "docmanager:toggle-autosave";
if (jupyterapp.commands.isToggled(toggle)) await jupyterapp.commands.execute(toggle);
"""
_CELLS = """
return Array.from(notebook.model.cells, (cell, index) => ({
  index, kind: cell.type, source: cell.sharedModel.getSource(), was_run: Boolean(cell.executionCount),
  is_live: JSON.stringify(cell.outputs?.toJSON() ?? []).includes("application/vnd.jupyter.widget-view+json"),
  errors: (cell.outputs?.toJSON() ?? []).filter((o) => o.output_type === "error").map((o) => `${o.ename}: ${o.evalue}`),
}));
"""


class Notebook:
    """A notebook open in JupyterLab, with a kernel of its own."""

    def __init__(self, page: Page, lab: Lab, path: str) -> None:
        self.page = page
        lab.end_kernel(path)
        if page.url.startswith(f"http://127.0.0.1:{lab.port}/lab"):  # JupyterLab takes seconds to start
            page.evaluate(_OPEN_INSTEAD, path)
        else:
            page.goto(lab.url(path))
        page.wait_for_function(_IS_OPEN, arg=path)
        self.ask("await panel.context.ready; await panel.sessionContext.ready; await panel.revealed;")
        self.ask(_NO_AUTOSAVE)

    def ask(self, code: str, argument: Any = None) -> Any:
        """Run JavaScript with `jupyterapp`, `panel`, `notebook` and `argument` at hand."""
        return self.page.evaluate(f"async (argument) => {{ {_PANEL} {code} }}", argument)

    @property
    def cells(self) -> list[Cell]:
        """All cells, as they stand now."""
        return [Cell(**cell) for cell in self.ask(_CELLS)]

    def run_all(self) -> None:
        """Run every cell, up to the first that raises, and wait for the end."""
        self.ask("await jupyterapp.commands.execute('notebook:run-all-cells');")

    def go_to(self, index: int) -> Locator:
        """Scroll a cell into view."""
        self.ask("notebook.activeCellIndex = argument; await notebook.scrollToItem(argument, 'start');", index)
        cell = self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")
        cell.wait_for()
        return cell

    def type_and_run(self, index: int, source: str) -> Locator:
        """Write another text into a cell, by keyboard, run it, and wait for the end; the cell."""
        cell = self.go_to(index)
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(source)
        return self.run(index)

    def run(self, index: int) -> Locator:
        """Run one cell and wait for its end; the cell."""
        cell = self.go_to(index)
        self.ask("await jupyterapp.commands.execute('notebook:run-cell');")
        return cell

    def explorers(self) -> list[LiveExplorer]:
        """The live explorers, top to bottom, once all are drawn."""
        found = []
        for cell in self.cells:
            if cell.is_live:
                box = self.go_to(cell.index).locator(".widget-vbox").filter(has=self.page.locator("[role=img]"))
                box.locator(".js-plotly-plot .main-svg").first.wait_for()
                found.append(LiveExplorer(box))
        return found


INPUT = "[role=slider], select, input"
MOST_MS = 3000
"""Longer than any picture takes, on a busy machine too."""


class LiveExplorer:
    """An explorer on the page."""

    def __init__(self, box: Locator) -> None:
        self.page = box.page
        self.plot = box.locator(".js-plotly-plot")
        rows = box.locator(".widget-inline-hbox").filter(has=box.page.locator(INPUT))
        self.controls = [Control(row) for row in rows.all()]
        self.plot.evaluate(_WATCH)

    @property
    def drawn(self) -> str:
        """What is plotted: the data and the lines across it, without titles and labels."""
        return str(self.plot.evaluate(_DRAWN))

    @property
    def room_px(self) -> float:
        """How wide the place of the picture is."""
        return float(self.plot.evaluate("(plot) => plot.clientWidth"))

    def move(self, control: Control, *, back: bool = False) -> float | None:
        """Move a control by one key and wait for the next picture; milliseconds from the key to the picture.

        None where the picture stays as it is: nothing is drawn then.
        """
        self.plot.evaluate(_AWAIT_PICTURE, MOST_MS)
        control.press(back=back)
        found = self.plot.evaluate("(plot) => plot.courseNext")
        return None if found is None else float(found)


_WATCH = """(plot) => {
  let pressed = null;
  addEventListener("keydown", (event) => (pressed = event.timeStamp), { capture: true });
  plot.on("plotly_afterplot", () => {
    if (pressed !== null) plot.courseDrawn?.(performance.now() - pressed);
    pressed = null;
  });
}"""

# A promise: to look again and again would make the page draw frames, which costs the move a tenth of its time.
_AWAIT_PICTURE = """(plot, mostMs) => {
  plot.courseNext = new Promise((resolve) => {
    plot.courseDrawn = resolve;
    setTimeout(resolve, mostMs, null);
  });
}"""

_DRAWN = """(plot) => JSON.stringify([
  plot.data.map((trace) => [trace.x, trace.y, trace.z, trace.base, trace.marker?.symbol]), plot.layout.shapes,
])"""


class Control:
    """A control of an explorer: a slider, a list, a switch or a line of text."""

    def __init__(self, row: Locator) -> None:
        self.label = row.inner_text().strip().splitlines()[0]
        self.row = row
        self.input = row.locator(INPUT).first

    def focus(self) -> None:
        """Put the keyboard there."""
        self.input.focus()

    @property
    def has_focus(self) -> bool:
        """Whether keys go there."""
        return bool(self.input.evaluate("(input) => input === document.activeElement"))

    def press(self, *, back: bool = False) -> None:
        """One step on, or ``back``; at the end of its way, one step the other way."""
        self.focus()
        if self.input.get_attribute("type") == "text":
            self.input.fill("The second list is" if "second" not in self.input.input_value() else "A list is a list")
        self.input.press(self.input.evaluate(_KEY, back))


_KEY = """(input, back) => {
  if (input.type === "checkbox") return "Space";
  if (input.type === "text") return "Enter";
  const isList = input.tagName === "SELECT";
  const [now, least, most] = isList
    ? [input.selectedIndex, 0, input.length - 1]
    : [input.ariaValueNow, input.ariaValueMin, input.ariaValueMax].map(Number);
  const goesBack = back ? now > least : now >= most;
  return goesBack ? (isList ? "ArrowUp" : "ArrowLeft") : isList ? "ArrowDown" : "ArrowRight";
}"""
