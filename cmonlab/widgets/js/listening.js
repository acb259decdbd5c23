// anywidget 0.11 hands a widget no message any more if it took over two seconds to begin, as it may on a busy machine.
// So those that are drawn take their messages themselves; `me` is the id of the model.
async function listening(model) {
  const own = await model.widget_manager.get_model(model.get("me"));
  const base = Object.getPrototypeOf(Object.getPrototypeOf(own));
  own.comm?.on_msg(base._handle_comm_msg.bind(own));
}
