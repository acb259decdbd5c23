// anywidget 0.11 delivers no more messages to a widget that took over two seconds to initialize, which happens on a busy
// machine. So our widgets subscribe to their messages themselves; `own_id` is the id of the model.
async function listening(model) {
  const own = await model.widget_manager.get_model(model.get("own_id"));
  const base = Object.getPrototypeOf(Object.getPrototypeOf(own));
  own.comm?.on_msg(base._handle_comm_msg.bind(own));
}
