//! Writes `node/src/admin/api.rs`, `node/src/extensions/api.rs`, `proto/src/cluster.rs` and `proto/src/peer.rs` from the .proto files. Run it at the root of
//! the checkout: `make proto`.

use std::path::Path;

type Made = Result<String, Box<dyn std::error::Error>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = Path::new("target-proto");
    std::fs::create_dir_all(out)?;
    std::fs::write("node/src/admin/api.rs", admin(out)?)?;
    std::fs::write("node/src/extensions/api.rs", extension(out)?)?;
    std::fs::write("proto/src/cluster.rs", between_nodes(out, "cluster")?)?;
    std::fs::write("proto/src/peer.rs", between_nodes(out, "peer")?)?;
    std::fs::remove_dir_all(out)?;
    Ok(())
}

fn admin(out: &Path) -> Made {
    let root = Path::new("proto");
    let descriptors = protox::compile([root.join("hikyaku/admin/v1/admin.proto")], [root])?;
    tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .out_dir(out)
        .compile_fds(descriptors)?;
    let made = std::fs::read_to_string(out.join("hikyaku.admin.v1.rs"))?;
    let header = "//! The admin API, made from `proto/hikyaku/admin/v1/admin.proto` by `make proto`. Not edited by hand.\n";
    Ok(format!("{header}{made}"))
}

fn extension(out: &Path) -> Made {
    let root = Path::new("proto");
    let file = "hikyaku/extension/v1/extension.proto";
    let descriptors = protox::compile([root.join(file)], [root])?;
    tonic_prost_build::configure().build_client(false).out_dir(out).compile_fds(descriptors)?;
    let made = std::fs::read_to_string(out.join("hikyaku.extension.v1.rs"))?;
    Ok(format!("//! The API for extensions, made from `proto/{file}` by `make proto`. Not edited by hand.\n{made}"))
}

/// Fields of bytes refer to the buffer that they were decoded from.
fn between_nodes(out: &Path, name: &str) -> Made {
    let root = Path::new("proto");
    let file = format!("hikyaku/{name}/v1/{name}.proto");
    let descriptors = protox::compile([root.join(&file)], [root])?;
    tonic_prost_build::configure().bytes(".").out_dir(out).compile_fds(descriptors)?;
    let made = std::fs::read_to_string(out.join(format!("hikyaku.{name}.v1.rs")))?;
    let header = format!("//! What nodes say to each other, made from `proto/{file}` by `make proto`. Not edited by hand.\n");
    Ok(format!("{header}{made}"))
}
