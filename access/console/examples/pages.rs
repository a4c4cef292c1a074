//! Writes every page, with the data of clusters that there are not, into a directory: pages DIRECTORY

#[path = "../tests/sample/mod.rs"]
mod sample;

use operator_console::assets::{ICON, SCRIPT, STYLE};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "console-pages".to_owned());
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir.join("assets"))?;
    for asset in [&*STYLE, &*SCRIPT, &*ICON] {
        std::fs::write(dir.join(asset.path.trim_start_matches('/')), asset.bytes)?;
    }
    for nodes in [1, 3, 9] {
        for (name, page) in sample::Sample::of(nodes).pages() {
            let page = page.replace("\"/assets/", "\"assets/");
            std::fs::write(dir.join(format!("{name}-{nodes}.html")), page)?;
        }
    }
    Ok(())
}
