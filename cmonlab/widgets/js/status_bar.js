async function render({ model, el }) {
  el.classList.add("cmonlab-status-bar");
  el.setAttribute("role", "status");
  const element = (tag, name, text) => {
    const node = document.createElement(tag);
    node.className = name;
    node.textContent = text ?? "";
    return node;
  };
  const draw = ({ groups, frame }) => {
    el.dataset.frame = frame;
    el.replaceChildren(...groups.map(([title, items]) => {
      const group = element("div", "cmonlab-group");
      group.append(element("span", "cmonlab-group-title", title), ...items.map(([name, value, tone, hint]) => {
        const item = element("span", "cmonlab-item" + (tone ? " cmonlab-" + tone : ""));
        item.title = hint;
        item.dataset.name = name;
        item.append(element("span", "cmonlab-label", name), element("span", "cmonlab-value", value));
        return item;
      }));
      return group;
    }), element("span", "cmonlab-frame", "frame " + frame));
  };
  const receive = (message) => {
    draw(message);
    // A timer runs only after the page has handled earlier work, so a busy page answers late. No animation frame is
    // awaited, because a hidden page does not paint.
    setTimeout(() => model.send({ seen: message.frame }), 0);
  };
  draw({ groups: [], frame: 0 });
  await listening(model);
  model.on("msg:custom", receive);
  model.send({ seen: -1 });
  return () => model.off("msg:custom", receive);
}
export default { render };
