//! Record → JSON stream, console, OCSF; a bounded queue each, every drop counted.
