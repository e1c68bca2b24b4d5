"""A plotly figure in the notebook that is redrawn in place when its data change.

plotly's own FigureWidget sends the whole of plotly.js (5 MB) with every figure, and anywidget drops all messages of a
widget whose program takes more than two seconds to load, as that does on a busy machine: the figure stays empty.
Here a figure's program is a few lines, and plotly.js, the copy that comes with plotly, travels once per page.
"""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

_PAGE = """
const page = (globalThis.coursePlotly ??= (() => {
  let arrived;
  return { ready: new Promise((resolve) => (arrived = resolve)), arrived: (plotly) => arrived(plotly) };
})());
"""
"""What all figures of a page share: a promise of plotly.js."""

_LOAD = (
    _PAGE
    + """
export default {
  initialize({ model }) {
    const text = model.get("text");
    if (text && !page.loading) {
      page.loading = true;
      const script = document.createElement("script");
      script.src = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      script.onload = () => page.arrived(globalThis.Plotly);
      document.head.append(script);
    }
    model.send("received");
  },
};
"""
)

_DRAW = (
    _PAGE
    + """
// Keys pressed at a control are for the control: JupyterLab takes an arrow down in a list for a walk to the next cell.
// ipywidgets gives slider handles no name, and to those over a list the index for a value.
function serveKeyboards(box) {
  for (const control of box?.querySelectorAll("select, input, [role=slider]") ?? [])
    control.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const row of box?.querySelectorAll(".widget-inline-hbox") ?? []) {
    const handle = row.querySelector("[role=slider]");
    const readout = row.querySelector(".widget-readout");
    if (!handle || !readout || handle.ariaLabel) continue;
    handle.ariaLabel = row.querySelector(".widget-label")?.textContent;
    const say = () => {
      if (handle.ariaValueText !== readout.textContent) handle.ariaValueText = readout.textContent;
    };
    new MutationObserver(say).observe(readout, { childList: true, characterData: true, subtree: true });
    new MutationObserver(say).observe(handle, { attributes: true, attributeFilter: ["aria-valuetext"] });
    say();
  }
}

export default {
  render({ model, el }) {
    const plot = document.createElement("div");
    plot.setAttribute("role", "img");
    el.append(plot);
    let plotly = null;
    const say = () => (plot.ariaLabel = model.get("label"));
    let width = 0; // as last drawn; 0 where the page does not show the place yet
    const draw = () => {
      if (!plotly) return;
      const { data, layout, config } = model.get("figure");
      width = plot.clientWidth;
      plotly.react(plot, structuredClone(data), { ...structuredClone(layout), width: width || undefined }, config);
    };
    model.on("change:figure", draw);
    model.on("change:label", say);
    say();
    page.ready.then((found) => {
      plotly = found;
      draw();
    });
    // The page was loaded anew and the kernel does not know: plotly.js is neither here nor on its way.
    const ask = () => {
      if (page.loading || Date.now() - (page.asked ?? 0) < 4000) return;
      page.asked = Date.now();
      model.send("plotly, please");
    };
    const asking = setInterval(ask, 1000);
    page.ready.then(() => clearInterval(asking));
    const serving = setInterval(() => serveKeyboards(el.parentElement), 500);
    // plotly.js watches the window alone; a panel beside the notebook and coming into sight change the width, too.
    const fitting = new ResizeObserver(() => {
      if (plot.clientWidth && plot.clientWidth !== width) draw();
    });
    fitting.observe(el);
    return () => {
      [asking, serving].forEach(clearInterval);
      fitting.disconnect();
      plotly?.purge(plot);
    };
  },
};
"""
)


class PlotlyText(anywidget.AnyWidget):
    """Carries plotly.js to the page, then closes. Its first message is one that Jupyter's rate limit lets pass."""

    _esm = _LOAD
    text = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        from plotly.offline import get_plotlyjs

        super().__init__(text=get_plotlyjs())
        self.on_msg(lambda widget, content, buffers: widget.close())


class Plot(anywidget.AnyWidget):
    """A figure: ``figure`` as plotly.js takes it, ``label`` as a screen reader reads it."""

    _esm = _DRAW
    figure = traitlets.Dict().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    _carrier: PlotlyText | None = None  # one per kernel, whichever page it serves

    def __init__(self, figure: dict[str, Any], label: str) -> None:
        if Plot._carrier is None:
            Plot._carrier = PlotlyText()
        super().__init__(figure=figure, label=label)
        self.on_msg(self._send_again)

    def redraw(self, figure: dict[str, Any], label: str) -> None:
        """Show another figure in the same place, in one message."""
        with self.hold_sync():
            self.figure, self.label = figure, label

    def _send_again(self, widget: Any, content: Any, buffers: Any) -> None:
        Plot._carrier = PlotlyText()
