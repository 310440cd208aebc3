//! Just enough of an assembler for seccomp's classic BPF.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter,
};

use super::Action;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Instructions in the making. Every jump is forward, within one helper, and short.
#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<sock_filter>,
}

impl Assembler {
    pub fn load_number(&mut self) {
        self.load(NUMBER);
    }

    pub fn load_architecture(&mut self) {
        self.load(ARCHITECTURE);
    }

    /// Low half of an argument (little endian, as all supported architectures are).
    pub fn load_argument(&mut self, index: u32) {
        self.load(ARGUMENTS + 8 * index);
    }

    /// High half of an argument.
    pub fn load_argument_high(&mut self, index: u32) {
        self.load(ARGUMENTS + 8 * index + 4);
    }

    pub fn mask(&mut self, bits: u32) {
        self.push(BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
    }

    /// Ends here with `action`.
    pub fn answer(&mut self, action: Action) {
        let value = match action {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Action::Fail(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        };
        self.push(BPF_RET | BPF_K, value, 0, 0);
    }

    /// Ends with `action` if the loaded value is one of these.
    pub fn if_any(&mut self, values: &[u32], action: Action) {
        for value in values {
            self.push(BPF_JMP | BPF_JEQ | BPF_K, *value, 0, 1);
            self.answer(action);
        }
    }

    /// Ends with `action` unless the loaded value is one of these (at most 200).
    pub fn unless_any(&mut self, values: &[u32], action: Action) {
        for (index, value) in values.iter().enumerate() {
            let to_the_end = (values.len() - index) as u8;
            self.push(BPF_JMP | BPF_JEQ | BPF_K, *value, to_the_end, 0);
        }
        self.answer(action);
    }

    pub fn if_at_least(&mut self, value: u32, action: Action) {
        self.push(BPF_JMP | BPF_JGE | BPF_K, value, 0, 1);
        self.answer(action);
    }

    pub fn if_any_bit(&mut self, bits: u32, action: Action) {
        self.push(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
        self.answer(action);
    }

    /// If the loaded value is `value`, runs `block`, which must end in an answer. Else goes on behind it.
    pub fn when(&mut self, value: u32, block: impl FnOnce(&mut Self)) {
        let jump = self.code.len();
        self.push(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 0);
        block(self);
        self.code[jump].jf = u8::try_from(self.code.len() - jump - 1).expect("blocks are short");
    }

    /// [`Self::when`] for a system call; its number must be loaded.
    pub fn call(&mut self, number: c_long, block: impl FnOnce(&mut Self)) {
        self.when(number as u32, block);
    }

    pub fn finish(self) -> Vec<sock_filter> {
        self.code
    }

    fn load(&mut self, offset: u32) {
        self.push(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
    }

    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) {
        self.code.push(sock_filter { code: code as u16, jt, jf, k });
    }
}
