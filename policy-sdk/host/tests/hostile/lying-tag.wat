  (func $decide (result i32)
    (i32.store8 (i32.const 1024) (i32.const 9))
    (i32.const 1024))
