export default {
  initialize({ model }) { shared().provide(model.get("code")); },
  render() {},
};
