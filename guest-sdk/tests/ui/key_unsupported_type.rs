fn read(call: &mortise_guest::Call) -> Result<Option<u64>, mortise_guest::Status> {
    call.table("scores").get(1.5)
}

fn main() {}
