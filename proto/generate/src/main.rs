//! Writes `node/src/admin/api.rs` from `proto/hikyaku/admin/v1/admin.proto`. Run it at the root of the checkout: `make proto`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let out = Path::new("target-proto");
    std::fs::create_dir_all(out)?;
    let descriptors = protox::compile([root.join("hikyaku/admin/v1/admin.proto")], [root])?;
    tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .out_dir(out)
        .compile_fds(descriptors)?;
    let made = std::fs::read_to_string(out.join("hikyaku.admin.v1.rs"))?;
    let header = "//! The admin API, made from `proto/hikyaku/admin/v1/admin.proto` by `make proto`. Not edited by hand.\n";
    std::fs::write("node/src/admin/api.rs", format!("{header}{made}"))?;
    std::fs::remove_dir_all(out)?;
    Ok(())
}
