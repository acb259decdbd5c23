// One copy of plotly.js for all figures of a page; `provide` is called with its code.
function shared() {
  if (!globalThis.cmonlabPlotly) {
    const state = (globalThis.cmonlabPlotly = {});
    state.code = new Promise((resolve) => { state.provide = resolve; });
  }
  return globalThis.cmonlabPlotly;
}
