fn main() -> Result<(), mortise_guest_codegen::Error> {
    mortise_guest_codegen::Builder::new()
        .include("proto")
        .proto("bench/v1/bench.proto")
        .build()?;
    Ok(())
}
