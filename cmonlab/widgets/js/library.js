export default {
  initialize({ model }) { shared().bring(model.get("code")); },
  render() {},
};
