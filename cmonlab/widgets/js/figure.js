const BEGIN = "const module = { exports: {} }, define = undefined;", END = ";export default module.exports;";
function plotly() {
  const link = (code) => URL.createObjectURL(new Blob([BEGIN, code, END], { type: "text/javascript" }));
  return (shared().module ??= shared().code.then((code) => import(link(code))));
}
const KINDS = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array };
function rows(flat, [count, width]) {
  return Array.from({ length: count }, (_, row) => flat.slice(row * width, (row + 1) * width));
}
function unpacked(value, buffers) {
  if (Array.isArray(value)) return value.map((one) => unpacked(one, buffers));
  if (value === null || typeof value !== "object") return value;
  if ("packed" in value) {
    const view = buffers[value.packed];
    const flat = new KINDS[value.kind](view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    if (value.shape.length === 2) return rows(flat, value.shape);
    return Array.from(flat, (number) => (Number.isNaN(number) ? null : number));
  }
  if ("texts" in value) {
    const [count, width] = value.shape;
    const flat = Array(count * width).fill("");
    unpacked(value.at, buffers).forEach((at, number) => { flat[at] = value.texts[number]; });
    return rows(flat, value.shape);
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, unpacked(one, buffers)]));
}
const CONFIG = { displaylogo: false };
function begin(library, el, model, { data, layout }) {
  library.newPlot(el, data, layout, CONFIG);
  el.on("plotly_click", ({ points: [point] }) => {
    const clicked = point.data.type === "heatmap" ? ["pair", point.y, point.x] : point.customdata;
    if (clicked) model.send({ clicked });
  });
}
function change(library, el, traces, layout) {
  const found = {};
  traces.forEach(([, values], number) => {
    for (const [path, value] of Object.entries(values))
      (found[path] ??= Array(traces.length).fill(undefined))[number] = value;
  });
  if (!traces.length) library.relayout(el, layout);
  else library.update(el, found, layout, traces.map(([number]) => number));
}
async function render({ model, el }) {
  const library = (await plotly()).default;
  const figure = document.createElement("div");
  el.append(figure);
  let drawn = false;
  const receive = (message, buffers) => {
    if (message.figure && !drawn) begin(library, figure, model, unpacked(message.figure, buffers));
    else if (message.traces && drawn) change(library, figure, ...unpacked([message.traces, message.layout], buffers));
    drawn ||= Boolean(message.figure);
  };
  await listening(model);
  model.on("msg:custom", receive);
  model.send({ request: "figure" });
  const resized = new ResizeObserver(() => { if (drawn && figure.clientWidth) library.Plots.resize(figure); });
  resized.observe(el);
  return () => {
    resized.disconnect();
    model.off("msg:custom", receive);
    library.purge(figure);
  };
}
export default { render };
