/* A broker in a host's own loop made of poll(), in C99: one thread drives the broker, takes its events, and is the
 * client that talks to it over TCP. SIGPIPE stays at its default. Prints what failed and exits 1, or exits 0. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mqttq/mqttq.h"

#define LONGEST_WAIT_MS 10000 /* for anything that is to happen; only a failing test waits so long */

#define REQUIRE(condition)                                                      \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

typedef struct host {
  mqttq_broker* broker;
  mqttq_events* events;
  unsigned turns;
  char arrived[64]; /* payload of the last message for the subscriber in the process, ends in NUL */
} host;

typedef struct client {
  int socket;
  unsigned char read[512];
  size_t size;
  int ended;
} client;

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static mqttq_bytes text(const char* words) {
  mqttq_bytes bytes = {words, strlen(words)};
  return bytes;
}

static unsigned threads(void) {
  unsigned count = 0;
  DIR* tasks = opendir("/proc/self/task");
  struct dirent* entry;
  REQUIRE(tasks != NULL);
  while ((entry = readdir(tasks)) != NULL) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

static client connect_to(const char* address) {
  client made;
  struct sockaddr_in to;
  memset(&made, 0, sizeof made);
  memset(&to, 0, sizeof to);
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
  made.socket = socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(made.socket >= 0);
  /* The kernel completes the handshake; the broker accepts in its next turn. */
  REQUIRE(connect(made.socket, (const struct sockaddr*)&to, sizeof to) == 0);
  REQUIRE(fcntl(made.socket, F_SETFL, O_NONBLOCK) == 0);
  return made;
}

static void say(client* who, const char* bytes, size_t size) {
  REQUIRE(send(who->socket, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

/* One round of the host's loop: whoever is ready is served. The broker's own time-out decides when it is called though
 * nothing is ready. */
static void run_once(host* own, client* who) {
  struct pollfd watched[3];
  const int timeout_ms = mqttq_broker_timeout_ms(own->broker);
  mqttq_event batch[4];
  size_t i, count;
  long long before = now_ms();
  watched[0].fd = mqttq_broker_fd(own->broker);
  watched[1].fd = mqttq_events_fd(own->events);
  watched[2].fd = who && !who->ended ? who->socket : -1;
  for (i = 0; i < 3; ++i) watched[i].events = POLLIN, watched[i].revents = 0;
  REQUIRE(poll(watched, 3, timeout_ms >= 0 && timeout_ms < LONGEST_WAIT_MS ? timeout_ms : LONGEST_WAIT_MS) >= 0);
  if (watched[0].revents || now_ms() - before >= timeout_ms) {
    ++own->turns;
    REQUIRE(mqttq_broker_turn(own->broker, own->turns % 2 ? 0 : 1000) == MQTTQ_OK);
  }
  if (watched[1].revents) {
    count = mqttq_events_take(own->events, batch, 4);
    for (i = 0; i < count; ++i) {
      const mqttq_bytes payload = mqttq_message_payload(batch[i].message);
      REQUIRE(batch[i].type == MQTTQ_EVENT_MESSAGE && payload.size < sizeof own->arrived);
      memcpy(own->arrived, payload.data, payload.size);
      own->arrived[payload.size] = '\0';
    }
  }
  if (watched[2].revents) {
    const ssize_t got = recv(who->socket, who->read + who->size, sizeof who->read - who->size, 0);
    if (got <= 0) who->ended = 1;
    if (got > 0) who->size += (size_t)got;
  }
}

/* Runs the loop until the client has read exactly these bytes. */
static void expect(host* own, client* who, const char* bytes, size_t size) {
  const long long until = now_ms() + LONGEST_WAIT_MS;
  while (who->size < size && !who->ended && now_ms() < until) run_once(own, who);
  REQUIRE(who->size >= size && memcmp(who->read, bytes, size) == 0);
  memmove(who->read, who->read + size, who->size -= size);
}

static void expect_end(host* own, client* who) {
  const long long until = now_ms() + LONGEST_WAIT_MS;
  while (!who->ended && now_ms() < until) run_once(own, who);
  REQUIRE(who->ended);
  close(who->socket);
}

static void publish(host* own, const char* topic, const char* payload) {
  mqttq_message_config config;
  mqttq_message* message = NULL;
  mqttq_message_config_init(&config, sizeof config);
  config.topic = text(topic);
  config.payload = text(payload);
  REQUIRE(mqttq_message_create(&config, &message, NULL) == MQTTQ_OK);
  REQUIRE(mqttq_publish(own->broker, message, NULL) == MQTTQ_OK);
  mqttq_message_release(message);
}

#define SAY(who, literal) say(who, literal, sizeof literal - 1)
#define EXPECT(own, who, literal) expect(own, who, literal, sizeof literal - 1)
#define CONNECT_A                  \
  "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1" \
  "a"

int main(void) {
  host own;
  client one, silent;
  mqttq_broker_config config;
  mqttq_limits limits;
  mqttq_listener_config endpoint;
  mqttq_events_config ring;
  mqttq_subscriber_config subscription;
  mqttq_listener *listener = NULL, *second = NULL;
  mqttq_subscriber* subscriber = NULL;
  mqttq_clients* clients = NULL;
  uint64_t cursor = 0;
  unsigned i, before;
  long long began;

  memset(&own, 0, sizeof own);
  mqttq_broker_config_init(&config, sizeof config);
  config.host_loop = 1;
  mqttq_limits_init(&limits, sizeof limits);
  limits.connect_timeout_ms = 100;
  config.limits = &limits;
  REQUIRE(mqttq_broker_create(&config, &own.broker, NULL) == MQTTQ_OK);
  REQUIRE(mqttq_broker_fd(own.broker) >= 0);
  REQUIRE(mqttq_broker_turn(own.broker, 0) == MQTTQ_ESTATE); /* not started */
  REQUIRE(mqttq_broker_start(own.broker, NULL) == MQTTQ_OK);
  REQUIRE(threads() == 1);

  mqttq_events_config_init(&ring, sizeof ring);
  REQUIRE(mqttq_events_open(own.broker, &ring, &own.events, NULL) == MQTTQ_OK);
  mqttq_subscriber_config_init(&subscription, sizeof subscription);
  subscription.topic_filter = text("up/#");
  subscription.events = own.events;
  REQUIRE(mqttq_subscriber_open(own.broker, &subscription, &subscriber, NULL) == MQTTQ_OK);
  mqttq_listener_config_init(&endpoint, sizeof endpoint);
  endpoint.address = "127.0.0.1:0";
  /* Before the first turn, and again when the loop has gone to sleep. */
  REQUIRE(mqttq_listener_open(own.broker, &endpoint, &listener, NULL) == MQTTQ_OK);

  /* A client is served: it connects, subscribes, hears the host, and is heard by it. */
  one = connect_to(mqttq_listener_address(listener));
  SAY(&one, CONNECT_A);
  EXPECT(&own, &one, "\x20\2\0\0");
  SAY(&one, "\x82\6\0\1\0\1t\0");
  EXPECT(&own, &one, "\x90\3\0\1\0");
  publish(&own, "t", "hello");
  EXPECT(&own, &one, "\x30\x08\0\1thello");
  SAY(&one, "\x32\x0a\0\4up/1\0\7xy");
  EXPECT(&own, &one, "\x40\2\0\7");
  began = now_ms();
  while (!own.arrived[0] && now_ms() - began < LONGEST_WAIT_MS) run_once(&own, &one);
  REQUIRE(strcmp(own.arrived, "xy") == 0);
  REQUIRE(mqttq_clients_list(own.broker, NULL, text("a"), &cursor, 0, &clients, NULL) == MQTTQ_OK);
  REQUIRE(mqttq_clients_count(clients) == 1 && mqttq_clients_get(clients, 0).protocol_version == 4);
  mqttq_clients_free(clients);

  /* Many exchanges: none may wait for a timer to be noticed. */
  began = now_ms();
  for (i = 0; i < 200; ++i) {
    SAY(&one, "\xc0\0");
    EXPECT(&own, &one, "\xd0\0");
    publish(&own, "t", "again");
    EXPECT(&own, &one, "\x30\x08\0\1tagain");
  }
  REQUIRE(now_ms() - began < LONGEST_WAIT_MS / 2);

  /* The broker's time-out is what wakes the host for somebody who connects and then says nothing; and while it waits,
   * the host sleeps: it is not called over and over. */
  silent = connect_to(mqttq_listener_address(listener));
  before = own.turns;
  began = now_ms();
  expect_end(&own, &silent);
  REQUIRE(now_ms() - began >= 90);
  REQUIRE(own.turns - before < 100);

  /* What is opened between two turns is watched without a turn that happens to come. */
  REQUIRE(mqttq_listener_open(own.broker, &endpoint, &second, NULL) == MQTTQ_OK);
  silent = connect_to(mqttq_listener_address(second));
  began = now_ms();
  SAY(&silent,
      "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1"
      "b");
  EXPECT(&own, &silent, "\x20\2\0\0");
  REQUIRE(now_ms() - began < LONGEST_WAIT_MS / 2);

  /* A peer that vanishes while it is written to. */
  {
    const struct linger at_once = {1, 0};
    REQUIRE(setsockopt(one.socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(one.socket);
    for (i = 0; i < 100; ++i) {
      publish(&own, "t", "to nobody");
      REQUIRE(mqttq_broker_turn(own.broker, 0) == MQTTQ_OK);
    }
  }
  SAY(&silent, "\xc0\0");
  EXPECT(&own, &silent, "\xd0\0");

  REQUIRE(threads() == 1);
  mqttq_listener_close(listener);
  mqttq_subscriber_close(subscriber);
  close(silent.socket);
  mqttq_broker_stop(own.broker);
  REQUIRE(mqttq_broker_turn(own.broker, 0) == MQTTQ_ESTATE);
  mqttq_listener_close(second);
  mqttq_events_close(own.events);
  mqttq_broker_destroy(own.broker);
  return 0;
}
