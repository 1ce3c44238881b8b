//! Tells the program which compiler made it, for the API's `otp_release`.

use std::process::Command;

fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(compiler).arg("--version").output().ok();
    let said = said.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    // `rustc 1.95.0 (59807616e 2026-04-14)`: the release is enough.
    let release: Vec<_> = said.split_whitespace().take(2).collect();
    let release = if release.is_empty() { "rustc".to_owned() } else { release.join(" ") };
    println!("cargo::rustc-env=COMPILER={release}");
    println!("cargo::rerun-if-changed=build.rs");
}
