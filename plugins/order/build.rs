fn main() -> Result<(), mortise_guest_codegen::Error> {
    mortise_guest_codegen::Builder::new()
        .include("../../proto")
        .include("proto")
        .proto("order/v1/order.proto")
        .proto("order/v1/timers.proto")
        .build()?;
    Ok(())
}
