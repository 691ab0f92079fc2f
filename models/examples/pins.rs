//! Converts the networks in an unpacked weights package and prints what to pin: `cargo run -p muster-models --example pins PACKAGE OUT`.

use std::io::Write;
use std::path::PathBuf;

use muster_models::{Manifest, convert};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(package), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pins PACKAGE OUT".into());
    };
    std::fs::create_dir_all(&out)?;
    for artifact in &Manifest::embedded()?.artifacts {
        let (Some(conversion), [list, shard]) = (artifact.convert, &artifact.members[..]) else { continue };
        let read = |member: &String| std::fs::read(package.join(member.trim_start_matches("package/")));
        let network = convert(conversion, &read(list)?, &read(shard)?)?;
        std::fs::write(out.join(&artifact.file), &network)?;
        let sha256 = data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&network));
        writeln!(std::io::stdout(), "{} {} bytes, sha256 {sha256}", artifact.file, network.len())?;
    }
    Ok(())
}
