fn main() -> Result<(), mortise_guest_codegen::Error> {
    mortise_guest_codegen::Builder::new()
        .include("proto")
        .proto("compute/v1/compute.proto")
        .build()?;
    Ok(())
}
