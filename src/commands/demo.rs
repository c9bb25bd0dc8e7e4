use crate::config::DemoArgs; pub(super) async fn run(_: DemoArgs) -> Result<(), String> { Ok(()) }
