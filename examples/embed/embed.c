/* A process with a broker inside: it listens, subscribes to everything, publishes, and prints what arrives until it is
 * told to stop by SIGINT or SIGTERM.
 *
 *   mqttq-embed [ADDRESS]     127.0.0.1:1883 without one */
#define _POSIX_C_SOURCE 200809L /* sigset_t, in strict C99 */

#include <mqttq/mqttq.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static mqttq_bytes text(const char* words) {
  mqttq_bytes bytes = {words, strlen(words)};
  return bytes;
}

/* On the one thread of the events below; the event and what it points to are ours until we return. */
static void print_message(void* user, const mqttq_event* event) {
  mqttq_bytes topic = mqttq_message_topic(event->message);
  mqttq_bytes payload = mqttq_message_payload(event->message);
  (void)user;
  printf("%.*s %.*s\n", (int)topic.size, (const char*)topic.data, (int)payload.size, (const char*)payload.data);
  fflush(stdout);
}

int main(int argc, char** argv) {
  mqttq_broker* broker = NULL;
  mqttq_events* events = NULL;
  mqttq_subscriber* subscriber = NULL;
  mqttq_listener* listener = NULL;
  mqttq_message* greeting = NULL;
  mqttq_events_config events_config;
  mqttq_subscriber_config subscription;
  mqttq_listener_config endpoint;
  mqttq_message_config words;
  mqttq_error error;
  sigset_t signals;
  int signal_number = 0;

  /* Blocked before the broker's threads begin, so that they inherit it and only sigwait() below gets them. */
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL);

  mqttq_error_init(&error, sizeof error);
  mqttq_events_config_init(&events_config, sizeof events_config);
  events_config.mode = MQTTQ_ON_WORKER;
  events_config.on_event = print_message;
  mqttq_subscriber_config_init(&subscription, sizeof subscription);
  subscription.topic_filter = text("#");
  mqttq_listener_config_init(&endpoint, sizeof endpoint);
  endpoint.address = argc > 1 ? argv[1] : "127.0.0.1:1883";
  mqttq_message_config_init(&words, sizeof words);
  words.topic = text("greeting");
  words.payload = text("hello");
  words.retain = 1;

  mqttq_status status = mqttq_broker_create(NULL, &broker, &error);
  if (!status) status = mqttq_broker_start(broker, &error);
  if (!status) status = mqttq_events_open(broker, &events_config, &events, &error);
  subscription.events = events;
  if (!status) status = mqttq_subscriber_open(broker, &subscription, &subscriber, &error);
  if (!status) status = mqttq_listener_open(broker, &endpoint, &listener, &error);
  if (!status) status = mqttq_message_create(&words, &greeting, &error);
  if (!status) status = mqttq_publish(broker, greeting, &error);
  if (!status) {
    printf("listening on %s\n", mqttq_listener_address(listener));
    fflush(stdout);
    sigwait(&signals, &signal_number);
  } else {
    fprintf(stderr, "%s: %s\n", mqttq_status_text(status), error.text);
  }

  mqttq_message_release(greeting);
  mqttq_listener_close(listener);
  mqttq_subscriber_close(subscriber);
  mqttq_broker_stop(broker);
  mqttq_events_close(events);
  mqttq_broker_destroy(broker);
  return status ? 1 : 0;
}
