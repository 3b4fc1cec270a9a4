//! Generates the API from `proto/` with protox: no `protoc` needed.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = ["event", "resources", "services"].map(|name| format!("tagtrail/v1/{name}.proto"));
    println!("cargo::rerun-if-changed={}", proto.display());

    let descriptors = protox::compile(files, [proto])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        // Maps in their keys' order: the same answer is the same bytes.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
