//! Catches every outbound connection.
