use super::*;

/// A guest's memory, whose allocator hands out one block after another.
struct Memory {
    bytes: Vec<u8>,
    next: u32,
}

impl Memory {
    fn new() -> Self {
        Self {
            bytes: vec![0; 4096],
            next: 64,
        }
    }

    fn store<T: Lower>(&mut self, value: T) -> Result<u32> {
        let mut lowering = Lowering::of(value, 8);
        lowering.take_room(&mut self.bytes, 0)?;
        while let Some((size, align)) = lowering.needed() {
            let address = align_to(self.next, align);
            self.next = address + size;
            lowering.take_room(&mut self.bytes, address)?;
        }
        lowering.finish(&mut self.bytes)?;
        Ok(8)
    }

    fn load<T: Lift>(&self, at: u32) -> Result<T> {
        Reader::new(&self.bytes, 1 << 20).value(at)
    }
}

fn survives<T: Lower + Lift + Clone + PartialEq + std::fmt::Debug>(value: T) {
    let mut memory = Memory::new();
    let at = memory.store(value.clone()).expect("there is room");
    assert_eq!(memory.load::<T>(at).expect("it is right"), value);
}

#[test]
fn what_is_lowered_can_be_lifted() {
    survives(7_u8);
    survives(u32::MAX);
    survives(u64::MAX - 1);
    survives(true);
    survives(String::from("grüße"));
    survives(vec![1_u8, 2, 3]);
    survives(Vec::<u8>::new());
    survives(vec![vec![1_u8], vec![], vec![2, 3]]);
    survives(vec![
        (String::from("a"), String::new()),
        (String::from("b"), String::from("c")),
    ]);
    survives(Some((1_u64, 2_u32)));
    survives(None::<String>);
    survives(Ok::<Option<Vec<u8>>, String>(Some(vec![9])));
    survives(Err::<u64, String>("refused".into()));
}

#[test]
fn what_a_guest_gives_is_checked() {
    let mut memory = Memory::new();
    memory.bytes[0..8].copy_from_slice(&[0, 0x10, 0, 0, 1, 0, 0, 0]);
    // One byte at 4096, where the memory ends.
    assert!(memory.load::<Vec<u8>>(0).is_err());
    assert!(memory.load::<u32>(4094).is_err(), "out of line");
    assert!(memory.load::<u64>(4092).is_err(), "out of line and beyond");
    assert!(memory.load::<u32>(4096).is_err(), "beyond");
    assert!(memory.load::<u32>(u32::MAX - 3).is_err(), "far beyond");
    memory.bytes[0..8].copy_from_slice(&[8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert!(
        memory.load::<Vec<u64>>(0).is_err(),
        "a list longer than any memory"
    );
    memory.bytes[0..8].copy_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0]);
    assert!(memory.load::<Vec<u32>>(0).is_err(), "a list out of line");
    memory.bytes[8..12].copy_from_slice(&[0xff, 0xfe, 0, 0]);
    memory.bytes[0..8].copy_from_slice(&[8, 0, 0, 0, 2, 0, 0, 0]);
    assert!(memory.load::<String>(0).is_err(), "not UTF-8");
    memory.bytes[0] = 2;
    assert!(memory.load::<Option<u8>>(0).is_err(), "no such case");
    assert!(memory.load::<Result<u8, u8>>(0).is_err(), "no such case");
}

#[test]
fn what_is_copied_is_bounded() {
    // Four lists of one kibibyte each, all of them the same one.
    let mut memory = Memory::new();
    for list in 0..4 {
        memory.bytes[list * 8..][..8].copy_from_slice(&[0, 4, 0, 0, 0, 4, 0, 0]);
    }
    let lift = |most| Reader::new(&memory.bytes, most).list::<Vec<u8>>(0, 4);
    assert_eq!(lift(8192).expect("within the bound").len(), 4);
    assert!(lift(4096).is_err());
}

#[test]
fn room_that_is_none_is_refused() {
    for address in [4090, 4096, u32::MAX] {
        let mut memory = vec![0; 4096];
        let mut lowering = Lowering::of(vec![1_u8; 16], 0);
        lowering
            .take_room(&mut memory, 0)
            .expect("nothing was asked for yet");
        assert!(lowering.take_room(&mut memory, address).is_err(), "{address}");
    }
    let mut memory = vec![0; 4096];
    let mut lowering = Lowering::of(vec![(1_u64, 2_u64)], 0);
    lowering
        .take_room(&mut memory, 0)
        .expect("nothing was asked for yet");
    assert!(lowering.take_room(&mut memory, 12).is_err(), "out of line");
    assert!(Lowering::of(1_u64, 4).finish(&mut memory).is_err(), "out of line");
    assert!(Lowering::of(1_u64, 4096).finish(&mut memory).is_err(), "beyond");
}
