"""The strip at the top: how the network fares, and apart from it how the monitor does.

It also tells how well the browser keeps up: it says which frame it has drawn, so that none is
sent to one that is busy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anywidget
import traitlets

_AHEAD = 2  # frames that may be under way to a browser
_RETRY_S = 2.0  # after which one is sent to a browser that said nothing

_ESM = """
function render({ model, el }) {
  el.classList.add("cmonlab-strip");
  el.setAttribute("role", "status");
  const draw = () => {
    const groups = model.get("groups").map(([title, items]) => {
      const group = document.createElement("div");
      group.className = "cmonlab-group";
      const head = document.createElement("span");
      head.className = "cmonlab-group-title";
      head.textContent = title;
      group.append(head, ...items.map(([name, value, tone, hint]) => {
        const item = document.createElement("span");
        item.className = "cmonlab-item" + (tone ? " cmonlab-" + tone : "");
        item.title = hint;
        item.dataset.name = name;
        const label = document.createElement("span");
        label.className = "cmonlab-label";
        label.textContent = name;
        const text = document.createElement("span");
        text.className = "cmonlab-value";
        text.textContent = value;
        item.append(label, text);
        return item;
      }));
      return group;
    });
    const frame = document.createElement("span");
    frame.className = "cmonlab-frame";
    frame.textContent = "frame " + model.get("frame");
    el.replaceChildren(...groups, frame);
  };
  const seen = () => {
    model.set("seen", model.get("frame"));
    model.save_changes();
  };
  const follow = () => {
    draw();
    // What came with the frame is drawn when the browser paints; a hidden page does not paint.
    if (document.hidden) setTimeout(seen, 0);
    else requestAnimationFrame(() => setTimeout(seen, 0));
  };
  model.on("change:frame", follow);
  follow();
  return () => model.off("change:frame", follow);
}
export default { render };
"""

Item = tuple[str, str, str, str]


class Strip(anywidget.AnyWidget):
    """Named values in groups, and the number of the frame that the browser has.

    Attributes
    ----------
    groups : list of (str, list of (str, str, str, str))
        Title, and its values: name, text, tone (empty, ``warning``) and a hint.
    frame : int
        The frame that was sent last.
    seen : int
        The one that a browser has drawn last.
    skipped : int
        Frames that were not sent, because the browser was busy.
    """

    _esm = _ESM
    groups = traitlets.List().tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    seen = traitlets.Int(0).tag(sync=True)

    def __init__(self, **traits):
        super().__init__(**traits)
        self.skipped, self._sent_s = 0, 0.0

    def ready(self) -> bool:
        """Tell whether another frame may be sent; if not, it counts as skipped.

        A browser that is slow gets fewer frames, one that is not there one every two seconds.
        """
        if self.frame - self.seen < _AHEAD or time.monotonic() - self._sent_s > _RETRY_S:
            return True
        self.skipped += 1
        return False

    def show(self, groups: Sequence[tuple[str, Sequence[Item]]]) -> None:
        """Draw values; what was drawn since the last call belongs to the same frame."""
        self._sent_s = time.monotonic()
        with self.hold_sync():
            self.groups = [[title, [list(item) for item in items]] for title, items in groups]
            self.frame += 1
