//! Writes the seed corpora for cargo-fuzz: the golden vectors and the refused changes, one file each.

fn main() -> std::io::Result<()> {
    for (name, _) in muster_fuzz::TARGETS {
        let folder = muster_fuzz::folder("corpus").join(name);
        std::fs::create_dir_all(&folder)?;
        for (index, seed) in muster_fuzz::seeds(name)?.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{index:03}")), seed)?;
        }
    }
    Ok(())
}
