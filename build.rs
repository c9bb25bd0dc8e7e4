//! Lists the stand-ins for `waybill-simulators`: every provider of the registry has one in its folder. So a provider's line there is
//! the only one outside of its folder.

use std::{env, error::Error, fmt::Write, fs, path::Path};

const REGISTRY: &str = "src/modules/providers/registry.rs";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={REGISTRY}");
    let root = env::var("CARGO_MANIFEST_DIR")?;
    let registry = fs::read_to_string(Path::new(&root).join(REGISTRY))?;
    let (mut modules, mut routes) = (String::new(), String::new());
    for name in registry.lines().filter_map(folder) {
        let file = Path::new(&root).join("src/modules/providers").join(name).join("stand_in/mod.rs");
        if !file.exists() {
            return Err(
                format!("{} is missing: a provider of {REGISTRY} has its stand-in there", file.display()).into()
            );
        }
        writeln!(modules, "#[path = {file:?}]\nmod {name};")?;
        writeln!(routes, "        .merge(control::router(&{name}::stand(world)))")?;
    }
    let list =
        format!("{modules}\nfn stand_ins(world: &stand::World<'_>) -> Router {{\n    Router::new()\n{routes}}}\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("stand_ins.rs"), list)?;
    Ok(())
}

/// The name of the folder whose module a line of the registry declares.
fn folder(line: &str) -> Option<&str> {
    line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')
}
