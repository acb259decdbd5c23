async function render({ model, el }) {
  el.classList.add("cmonlab-strip");
  el.setAttribute("role", "status");
  const made = (tag, name, text) => {
    const node = document.createElement(tag);
    node.className = name;
    node.textContent = text ?? "";
    return node;
  };
  const draw = ({ groups, frame }) => {
    el.dataset.frame = frame;
    el.replaceChildren(...groups.map(([title, items]) => {
      const group = made("div", "cmonlab-group");
      group.append(made("span", "cmonlab-group-title", title), ...items.map(([name, value, tone, hint]) => {
        const item = made("span", "cmonlab-item" + (tone ? " cmonlab-" + tone : ""));
        item.title = hint;
        item.dataset.name = name;
        item.append(made("span", "cmonlab-label", name), made("span", "cmonlab-value", value));
        return item;
      }));
      return group;
    }), made("span", "cmonlab-frame", "frame " + frame));
  };
  const follow = (message) => {
    draw(message);
    // A page that is busy with what came before gets here late. One that is hidden does not paint, so no
    // animation frame is waited for.
    setTimeout(() => model.send({ seen: message.frame }), 0);
  };
  draw({ groups: [], frame: 0 });
  await listening(model);
  model.on("msg:custom", follow);
  model.send({ seen: -1 });
  return () => model.off("msg:custom", follow);
}
export default { render };
