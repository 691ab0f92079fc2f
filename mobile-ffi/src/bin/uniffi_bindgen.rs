//! Generates the bindings of the library that it is pointed at; see the README.

fn main() {
    uniffi::uniffi_bindgen_main();
}
