//! A clock that a test can set, for one process. The preloaded library shifts the wall clock by the time in a file,
//! and leaves the monotonic clock alone. It allocates nothing, because allocators read the time.

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
            let nanos = (*time).nanos as i64 + shift();
            (*time).seconds += nanos.div_euclid(SECOND);
            (*time).nanos = nanos.rem_euclid(SECOND) as c_long;
        }
        result as c_int
    }
}

/// The nanoseconds in the file that CLOCK_SHIFT names, as eight bytes; 0 where there is none.
unsafe fn shift() -> i64 {
    let mut nanos = [0_u8; 8];
    // SAFETY: names and buffers are whole, and the file is ours.
    unsafe {
        let path = getenv(c"CLOCK_SHIFT".as_ptr());
        if path.is_null() {
            return 0;
        }
        let file = open(path, 0);
        if file < 0 {
            return 0;
        }
        let size = read(file, nanos.as_mut_ptr().cast(), nanos.len());
        close(file);
        if size != 8 {
            return 0;
        }
    }
    i64::from_le_bytes(nanos)
}
