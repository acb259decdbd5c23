// One copy of plotly.js for all figures of a page.
function shared() {
  if (!globalThis.cmonlabPlotly) {
    const made = (globalThis.cmonlabPlotly = {});
    made.code = new Promise((bring) => { made.bring = bring; });
  }
  return globalThis.cmonlabPlotly;
}
