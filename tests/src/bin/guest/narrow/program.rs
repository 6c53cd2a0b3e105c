//! Programs of 32 bits for ARM that make one system call after the other.

/// Where the file is in memory.
const AT: u32 = 0x1_0000;
const HEADERS: u32 = 52 + 32;
/// Where in the file and in memory what arguments point to begins.
const DATA: u32 = 0x8000;

const EXIT: u32 = 1;
const DUP2: u32 = 63;

/// A program. What it is told to do it does once, in that order, whatever comes of it.
#[derive(Default)]
pub struct Program {
    code: Vec<u32>,
    data: Vec<u8>,
}

impl Program {
    /// Bytes in its memory, which can be written; gives their address.
    pub fn put(&mut self, bytes: &[u8]) -> u32 {
        let at = self.data.len().next_multiple_of(8);
        self.data.resize(at, 0);
        self.data.extend(bytes);
        AT + DATA + u32::try_from(at).expect("it is small")
    }

    /// A text with its end.
    pub fn text(&mut self, text: &str) -> u32 {
        self.put(&[text.as_bytes(), &[0]].concat())
    }

    pub fn numbers(&mut self, numbers: &[u32]) -> u32 {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.put(&bytes)
    }

    /// Makes the system call of this number (`arch/arm64/tools/syscall_32.tbl`).
    pub fn call(&mut self, number: u32, arguments: &[u32]) {
        for (register, value) in (0..).zip(arguments) {
            self.load(register, *value);
        }
        self.load(7, number);
        // svc #0
        self.code.push(0xef00_0000);
    }

    /// The same for each.
    pub fn each(&mut self, calls: &[(u32, &[u32])]) {
        for (number, arguments) in calls {
            self.call(*number, arguments);
        }
    }

    /// Makes one that gives a descriptor, which is `descriptor` from then on, too.
    pub fn open(&mut self, number: u32, arguments: &[u32], descriptor: u32) {
        self.call(number, arguments);
        self.load(1, descriptor);
        self.load(7, DUP2);
        self.code.push(0xef00_0000);
    }

    fn load(&mut self, register: u32, value: u32) {
        let half = |half: u32| (half >> 12) << 16 | register << 12 | half & 0xfff;
        // movw, movt
        self.code.extend([0xe300_0000 | half(value & 0xffff), 0xe340_0000 | half(value >> 16)]);
    }

    /// The ELF file.
    pub fn file(mut self) -> Vec<u8> {
        self.call(EXIT, &[0]);
        let code: Vec<u8> = self.code.iter().flat_map(|word| word.to_le_bytes()).collect();
        let size = DATA + u32::try_from(self.data.len()).expect("it is small");
        // `e_ident`: 32 bits, little-endian, version 1.
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |number: u16| number.to_le_bytes();
        // ET_EXEC, EM_ARM; version, entry, program headers, section headers, flags of EABI 5.
        file.extend([half(2), half(40)].concat());
        for word in [1, AT + HEADERS, 52, 0, 0x0500_0000] {
            file.extend(u32::to_le_bytes(word));
        }
        // Sizes and numbers of headers.
        for number in [52, 32, 1, 0, 0, 0] {
            file.extend(half(number));
        }
        // PT_LOAD: offset, addresses, sizes, all that may be done with it, alignment.
        for word in [1, 0, AT, AT, size, size, 7, 0x1_0000] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(code);
        assert!(file.len() <= DATA as usize, "the code has no room before the data");
        file.resize(DATA as usize, 0);
        file.extend(self.data);
        file
    }
}
