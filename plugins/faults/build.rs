fn main() -> Result<(), Box<dyn std::error::Error>> {
    mortise_guest_codegen::Builder::new()
        .include("proto")
        .proto("faults/v1/faults.proto")
        .build()?;
    Ok(())
}
