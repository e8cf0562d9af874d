//! Writes the CRDs into the repository: `crds/` and the templates of the chart.

use std::fs;
use std::path::{Path, PathBuf};

use rq_operator_core::crds;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in crds::files()? {
        let path: PathBuf = root.join(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, file.text)?;
    }
    Ok(())
}
