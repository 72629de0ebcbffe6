/* A broker that keeps what it has to keep in a file of SQLite's, until it is told to stop by SIGINT or SIGTERM.
 *
 *   mqttq-sqlite-broker FILE [ADDRESS]     127.0.0.1:1883 without one */
#define _POSIX_C_SOURCE 200809L /* sigset_t, in strict C99 */

#include <mqttq/mqttq.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "sqlite_store.h"

int main(int argc, char** argv) {
  sqlite_store* store;
  mqttq_broker* broker = NULL;
  mqttq_listener* listener = NULL;
  mqttq_store table;
  mqttq_broker_config config;
  mqttq_listener_config endpoint;
  mqttq_error error;
  mqttq_status status;
  sigset_t signals;
  int signal_number = 0;

  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: %s FILE [ADDRESS]\n", argv[0]);
    return 2;
  }
  /* Blocked before the broker's threads begin, so that they inherit it and only sigwait() below gets them. */
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  umask(077); /* what clients have sent is nobody else's business */

  store = sqlite_store_create(argv[1], 0);
  if (!store) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  sqlite_store_fill(store, &table);
  mqttq_error_init(&error, sizeof error);
  mqttq_broker_config_init(&config, sizeof config);
  config.store = &table;
  mqttq_listener_config_init(&endpoint, sizeof endpoint);
  endpoint.address = argc > 2 ? argv[2] : "127.0.0.1:1883";

  status = mqttq_broker_create(&config, &broker, &error);
  if (!status) status = mqttq_broker_start(broker, &error);
  if (!status) status = mqttq_listener_open(broker, &endpoint, &listener, &error);
  if (!status) {
    printf("listening on %s\n", mqttq_listener_address(listener));
    fflush(stdout);
    sigwait(&signals, &signal_number);
  } else {
    fprintf(stderr, "%s: %s\n", mqttq_status_text(status), error.text);
  }

  mqttq_listener_close(listener);
  mqttq_broker_destroy(broker);
  sqlite_store_destroy(store);
  return status ? 1 : 0;
}
