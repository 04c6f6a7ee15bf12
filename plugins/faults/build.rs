fn main() -> Result<(), mortise_guest_codegen::Error> {
    mortise_guest_codegen::Builder::new()
        .include("proto")
        .proto("faults/v1/faults.proto")
        .build()?;
    Ok(())
}
