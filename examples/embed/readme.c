/* A broker inside this process: MQTT clients talk through it until Enter is pressed. */
#include <mqttq/mqttq.h>
#include <stdio.h>

int main(void) {
  mqttq_broker* broker = NULL;
  mqttq_listener* listener = NULL;
  mqttq_listener_config config;
  mqttq_error error;
  mqttq_error_init(&error, sizeof error);
  mqttq_listener_config_init(&config, sizeof config);
  config.address = "127.0.0.1:0"; /* any free port */
  if (mqttq_broker_create(NULL, &broker, &error) || mqttq_broker_start(broker, &error) ||
      mqttq_listener_open(broker, &config, &listener, &error)) {
    fprintf(stderr, "%s\n", error.text);
    return 1;
  }
  printf("listening on %s\n", mqttq_listener_address(listener));
  getchar();
  mqttq_listener_close(listener);
  mqttq_broker_destroy(broker);
  return 0;
}
