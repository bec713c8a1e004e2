//! A clock that a test can set, for one process. The preloaded library shifts or stops the wall clock, as a
//! file says, and leaves the monotonic clock alone. It allocates nothing, because allocators read the time.

use std::ffi::{c_char, c_int, c_long, c_void};

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getenv(name: *const c_char) -> *const c_char;
    fn open(path: *const c_char, flags: c_int) -> c_int;
    fn read(file: c_int, buffer: *mut c_void, size: usize) -> isize;
    fn close(file: c_int) -> c_int;
}

const CLOCK_REALTIME: c_int = 0;
const SECOND: i64 = 1_000_000_000;
#[cfg(target_arch = "x86_64")]
const CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const CLOCK_GETTIME: c_long = 113;

/// The C library's function, in whose place this one comes.
///
/// # Safety
/// As there: `time` is a place for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    // SAFETY: the caller's arguments, handed on.
    unsafe {
        let result = syscall(CLOCK_GETTIME, c_long::from(clock), time);
        if result == 0 && clock == CLOCK_REALTIME {
            let true_time = (*time).seconds * SECOND + (*time).nanos as i64;
            let nanos = match setting() {
                Setting::Shift(nanos) => true_time + nanos,
                Setting::Stopped(nanos) => nanos,
            };
            (*time).seconds = nanos.div_euclid(SECOND);
            (*time).nanos = nanos.rem_euclid(SECOND) as c_long;
        }
        result as c_int
    }
}

/// Times in nanoseconds.
enum Setting {
    Shift(i64),
    Stopped(i64),
}

/// The setting in the file that CLOCK_SHIFT names: the shift in eight bytes, or the time of a stopped clock in eight more.
unsafe fn setting() -> Setting {
    let mut bytes = [0_u8; 16];
    // SAFETY: names and buffers are whole, and the file is ours.
    let size = unsafe {
        let path = getenv(c"CLOCK_SHIFT".as_ptr());
        if path.is_null() {
            return Setting::Shift(0);
        }
        let file = open(path, 0);
        if file < 0 {
            return Setting::Shift(0);
        }
        let size = read(file, bytes.as_mut_ptr().cast(), bytes.len());
        close(file);
        size
    };
    let [shift, stopped] = [0, 8].map(|at| std::array::from_fn(|byte| bytes[at + byte]));
    match size {
        8 => Setting::Shift(i64::from_le_bytes(shift)),
        16 => Setting::Stopped(i64::from_le_bytes(stopped)),
        _ => Setting::Shift(0),
    }
}
