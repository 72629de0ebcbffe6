/* What our mbedTLS has beyond the defaults of its release. tools/setup appends this file to mbedtls/mbedtls_config.h
 * before it builds the library, so that the installed headers tell the whole configuration to whoever includes them. */

/* Shards share PSA's process-wide state; without its locks two handshakes at once would race. */
#define MBEDTLS_THREADING_C
#define MBEDTLS_THREADING_PTHREAD

/* Bytes of plain text in one record that we send. An idle connection keeps this buffer, so it is smaller than the
 * 16 384 that a peer may send us; what is longer goes out as several records. */
#define MBEDTLS_SSL_OUT_CONTENT_LEN 4096
